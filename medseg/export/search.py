"""The search for the nodes that must stay in float32: by measurement on calibration samples, not by a list of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper
from tqdm import tqdm

from medseg.errors import ExportError
from medseg.export.parity import Budget, Parity, compare, onnx_infer, probabilities, shortfall
from medseg.export.precision import FULL, LARGEST, constants_beyond_half, element_types, half, half_share, rounded
from medseg.export.samples import Calibration
from medseg.task import Network

HEADROOM = 2.0  # the next patient's values may be this much larger than those of the calibration
GROUPS = 16  # how finely the graph is divided when its sensitive part is looked for
LEAST_SHARE = 0.5  # of weight bytes in float16: with less, the file does not deserve its name


@dataclass(frozen=True)
class Half:
    """An FP16 model within its budget: the nodes it keeps in float32 with the reason of each, and its parity."""

    model: onnx.ModelProto
    kept: Mapping[str, str]
    parity: Parity


def half_within(model: onnx.ModelProto, network: Network, calibration: Calibration, budget: Budget) -> Half:
    """The FP16 model that holds the budget on the calibration samples.

    Nodes that leave float16's range stay in float32 from the start. While more than half of the budget is used up (the
    next patient needs the other half), more follow one by one, first that whose rounding alone disturbs the answer
    most. Raises ExportError where nothing within the budget is worth the name.
    """
    best = _tried(model, network, calibration, out_of_range(model, calibration))
    if not shortfall(network, best.parity, budget.halved()):
        return best
    kept = dict(best.kept)
    for name, reason in _sensitive_nodes(model, network, calibration, kept):
        kept[name] = reason
        tried = _tried(model, network, calibration, dict(kept))
        if half_share(tried.model)["weight_bytes"] < LEAST_SHARE:
            break
        best = max(best, tried, key=lambda half: _quality(half.parity))
        if not shortfall(network, tried.parity, budget.halved()):
            break
    return _accepted(network, best, budget)


def _tried(model: onnx.ModelProto, network: Network, calibration: Calibration, kept: Mapping[str, str]) -> Half:
    candidate = half(model, kept)
    infer = onnx_infer(rounded(candidate))
    parity = compare(network, calibration.references, (infer(sample) for sample in calibration.samples))
    return Half(candidate, kept, parity)


def _quality(parity: Parity) -> tuple[bool, float, float]:
    return parity.finite, parity.dice, -parity.probability_error


def _accepted(network: Network, found: Half, budget: Budget) -> Half:
    share = half_share(found.model)["weight_bytes"]
    reason = shortfall(network, found.parity, budget)
    if not reason and share < LEAST_SHARE:
        reason = f"only {share:.0%} of its weight bytes can be float16, at least {LEAST_SHARE:.0%} are expected"
    if reason:
        kept = f"with {len(found.kept)} nodes kept in float32"
        raise ExportError(f"fp16 of {network.name} is not recorded: {reason}, {kept}: use fp32, or a lower --dice")
    return found


def out_of_range(model: onnx.ModelProto, calibration: Calibration) -> dict[str, str]:
    """Nodes whose constants or values, with headroom, float16 cannot hold, and the reason in words."""
    kept = {name: f"a constant of {peak:.3g} is beyond float16" for name, peak in constants_beyond_half(model).items()}
    peaks = _peaks(model, calibration)
    for node in model.graph.node:
        peak = max((peaks.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if not peak * HEADROOM <= LARGEST:
            kept.setdefault(node.name, f"values up to {peak:.3g} come too near to float16's largest")
    return kept


def _peaks(model: onnx.ModelProto, calibration: Calibration) -> dict[str, float]:
    """The largest magnitude of every float tensor over the calibration samples."""
    types = element_types(model)
    names = [name for node in model.graph.node for name in node.output if types.get(name) == FULL]
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
    model: onnx.ModelProto, network: Network, calibration: Calibration, kept: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The most sensitive nodes, worst first, each with the error that its rounding alone causes, in words.

    The graph is cut into groups of neighbours; the worst quarter of them is cut again, until groups are single nodes.
    """
    names = [node.name for node in model.graph.node]
    sample = max(zip(calibration.references, calibration.samples, strict=True), key=lambda pair: (pair[0] > 0).sum())[1]
    expected = probabilities(network, onnx_infer(model)(sample))

    def error(group: list[str]) -> float:
        infer = onnx_infer(rounded(half(model, set(names) - set(group))))
        moved = float(np.abs(probabilities(network, infer(sample)) - expected).mean())
        return moved if np.isfinite(moved) else np.inf

    groups = _cut([name for name in names if name not in kept], GROUPS)
    while True:
        errors = {group[0]: error(group) for group in tqdm(groups, "FP16 search", leave=False, disable=None)}
        groups.sort(key=lambda group: -errors[group[0]])
        if all(len(group) == 1 for group in groups):
            return [(name, f"rounding it alone moves probabilities by {errors[name]:.1e}") for (name,) in groups]
        groups = [part for group in groups[: GROUPS // 4] for part in _cut(group, 4)]


def _cut(names: list[str], parts: int) -> list[list[str]]:
    return [part.tolist() for part in np.array_split(names, parts) if len(part)]
