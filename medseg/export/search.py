"""The search for nodes that must stay float32: by measurement on calibration samples, not by a list of names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper
from tqdm import tqdm

from medseg.errors import ExportError
from medseg.export.parity import (
    Budget,
    Parity,
    compare,
    is_classifier,
    log_odds,
    onnx_infer,
    probabilities,
    shortfall,
)
from medseg.export.precision import FULL, LARGEST, constants_beyond_half, element_types, half, half_share, rounded
from medseg.export.quantize import (
    Range,
    channel_peaks,
    equalized,
    int8_share,
    quantized,
    quantized_nodes,
    ranges_by_node,
    restored,
)
from medseg.export.samples import Calibration
from medseg.task import Array, Infer, Network

HEADROOM = 2.0  # the next patient's values may be this many times as large as the calibration's
WATCHED = 200  # tensors measured at once, which all stay in memory: eca_nfnet_l2's 876 at 416 x 416 took 2.2 GB
RANKED = 16  # crops on which a classifier's sensitive nodes are searched
GROUPS = 16  # into how many parts the graph is divided when its sensitive part is searched


@dataclass(frozen=True)
class Lowered:
    """A model of lower precision, the nodes it keeps in float32 and why, its parity, and the lowered share."""

    model: onnx.ModelProto
    kept: Mapping[str, str]
    parity: Parity
    share: Mapping[str, float]


@dataclass(frozen=True)
class Lowering:
    """How models of one precision are made, judged and measured; the search is the same for all precisions."""

    precision: str
    names: list[str]  # the nodes that can be lowered, in the graph's order
    make: Callable[[Collection[str]], onnx.ModelProto]  # the names that stay float32 -> the model
    judge: Callable[[onnx.ModelProto], Infer]
    share: Callable[[onnx.ModelProto], Mapping[str, float]]
    least_share: float  # of weight bytes: a file with less does not deserve its name


def half_within(model: onnx.ModelProto, network: Network, calibration: Calibration, budget: Budget) -> Lowered:
    """The FP16 model within the budget. Nodes that leave float16's range stay float32 from the start."""
    lowering = Lowering(
        precision="fp16",
        names=[node.name for node in model.graph.node],
        make=lambda keep: half(model, keep),
        judge=lambda candidate: onnx_infer(rounded(candidate)),
        share=half_share,
        least_share=0.5,
    )
    return within(lowering, network, calibration, budget, out_of_range(model, calibration))


def int8_within(
    model: onnx.ModelProto,
    network: Network,
    calibration: Calibration,
    budget: Budget,
    ranges: Sequence[Range] | None = None,
) -> Lowered:
    """The int8 model within the budget; it is judged on all samples.

    `ranges` are those of its products, in their order; without them, ranges come from every second sample.
    """
    seen = calibration.samples[::2]
    known = ranges_by_node(model, ranges) if ranges else {}
    peaks = {name: one.peaks for name, one in known.items()} if ranges else channel_peaks(model, seen)
    even = equalized(model, peaks)
    inputs = {node.name: node.input[0] for node in even.graph.node}
    everywhere = quantized(even, seen, {inputs[name]: one.step for name, one in known.items()})
    lowering = Lowering(
        precision="int8",
        names=quantized_nodes(even),
        make=lambda keep: restored(everywhere, even, keep),
        judge=onnx_infer,
        share=int8_share,
        least_share=0.1,
    )
    return within(lowering, network, calibration, budget, {})


def within(
    lowering: Lowering, network: Network, calibration: Calibration, budget: Budget, kept: Mapping[str, str]
) -> Lowered:
    """The lowered model within the budget on the calibration samples. The nodes in `kept` stay float32 from the start.

    While more than half of the budget is used (the other half is for the next patient), more nodes go back to float32
    one by one, first the node that alone changes the answer most. If the model never gets below half, the first one
    within the budget is taken, which keeps the fewest nodes. Raises ExportError if no model within the budget deserves
    its name.
    """
    best = _tried(lowering, network, calibration, kept)
    if shortfall(network, best.parity, budget.halved()):
        kept = dict(kept)
        for name, reason in _sensitive_nodes(lowering, network, calibration, kept):
            kept[name] = reason
            tried = _tried(lowering, network, calibration, dict(kept))
            if tried.share["weight_bytes"] < lowering.least_share:
                break
            if not shortfall(network, tried.parity, budget.halved()):
                return tried
            if shortfall(network, best.parity, budget):
                best = max(best, tried, key=lambda found: _quality(network, found.parity, budget))
    return _accepted(lowering, network, best, budget)


def _tried(lowering: Lowering, network: Network, calibration: Calibration, kept: Mapping[str, str]) -> Lowered:
    model = lowering.make(kept)
    infer = lowering.judge(model)
    parity = compare(network, calibration.references, (infer(sample) for sample in calibration.samples))
    return Lowered(model, kept, parity, lowering.share(model))


def _quality(network: Network, parity: Parity, budget: Budget) -> tuple[bool, bool, float, float, float]:
    held = not shortfall(network, parity, budget)
    return held, parity.finite, min(parity.dice, parity.worst_dice), -parity.probability_error, -parity.odds_error


def _accepted(lowering: Lowering, network: Network, found: Lowered, budget: Budget) -> Lowered:
    reason = shortfall(network, found.parity, budget)
    if not reason and found.share["weight_bytes"] < lowering.least_share:
        reason = f"only {found.share['weight_bytes']:.0%} of its weight bytes are, expected {lowering.least_share:.0%}"
    if reason:
        kept = f"with {len(found.kept)} nodes kept in float32"
        raise ExportError(
            f"{lowering.precision} of {network.name} is not recorded: {reason}, {kept}: use another precision or --dice"
        )
    return found


def out_of_range(model: onnx.ModelProto, calibration: Calibration) -> dict[str, str]:
    """Nodes whose constants, or values times HEADROOM, float16 cannot hold, and the reason in words."""
    kept = {name: f"a constant of {peak:.3g} is beyond float16" for name, peak in constants_beyond_half(model).items()}
    peaks = _peaks(model, calibration)
    for node in model.graph.node:
        peak = max((peaks.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if not peak * HEADROOM <= LARGEST:
            kept.setdefault(node.name, f"values up to {peak:.3g} come too near to float16's largest")
    return kept


def _peaks(model: onnx.ModelProto, calibration: Calibration) -> dict[str, float]:
    """The largest magnitude of every float tensor over the first four calibration samples."""
    types = element_types(model)
    names = [name for node in model.graph.node for name in node.output if types.get(name) == FULL]
    parts = [names[first : first + WATCHED] for first in range(0, len(names), WATCHED)]
    return {name: peak for part in parts for name, peak in _watched(model, part, calibration).items()}


def _watched(model: onnx.ModelProto, names: list[str], calibration: Calibration) -> dict[str, float]:
    """The largest magnitude of these tensors; all stay in memory until the last is known."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    peaks = [f"{name}_peak" for name in names]
    for name, peak in zip(names, peaks, strict=True):
        watched.graph.node.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        watched.graph.node.append(helper.make_node("ReduceMax", [f"{name}_abs"], [peak], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(peak, TensorProto.FLOAT, []))
    infer = onnx_infer(watched, outputs=peaks)
    found = np.array([infer(sample) for sample in calibration.samples[:4]])
    return dict(zip(names, found.max(axis=0), strict=True))


def _sensitive_nodes(
    lowering: Lowering, network: Network, calibration: Calibration, kept: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The most sensitive nodes, worst first, each with the error that lowering only this node causes, in words.

    The graph is cut into groups of neighbours. The worst few groups are cut again, until every group is one node.
    """
    names = lowering.names
    sample = _telling(network, calibration)
    expected = _score(network, lowering.judge(lowering.make(names))(sample))
    unit = "log-odds" if is_classifier(network) else "probabilities"

    def error(group: list[str]) -> float:
        infer = lowering.judge(lowering.make(set(names) - set(group)))
        moved = float(np.abs(_score(network, infer(sample)) - expected).mean())
        return moved if np.isfinite(moved) else np.inf

    groups = _cut([name for name in names if name not in kept], GROUPS)
    while True:
        progress = tqdm(groups, f"{lowering.precision} search", leave=False, disable=None)
        errors = {group[0]: error(group) for group in progress}
        groups.sort(key=lambda group: -errors[group[0]])
        if all(len(group) == 1 for group in groups):
            return [(name, f"alone it moves {unit} by {errors[name]:.1e}") for (name,) in groups]
        groups = [part for group in groups[: GROUPS // 4] for part in _cut(group, 4)]


def _score(network: Network, logits: Array) -> Array:
    return log_odds(logits) if is_classifier(network) else probabilities(network, logits)


def _telling(network: Network, calibration: Calibration) -> Array:
    """The input that shows errors best: the picture with the least certain answer, or the crops that rank first."""
    if is_classifier(network):
        ranked = np.argsort([-log_odds(reference).max() for reference in calibration.references])
        return np.concatenate([calibration.samples[index] for index in ranked[:RANKED]])
    spread = [(chance * (1 - chance)).sum() for chance in (probabilities(network, r) for r in calibration.references)]
    return calibration.samples[int(np.argmax(spread))]


def _cut(names: list[str], parts: int) -> list[list[str]]:
    return [part.tolist() for part in np.array_split(names, parts) if len(part)]
