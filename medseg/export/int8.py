"""INT8 within a budget: several ways to choose the activations' ranges; the one whose file is best is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import numpy as np
import onnx

from medseg.errors import ExportError
from medseg.export.evening import Range, channel_peaks, equalized, ranges_by_node, ranges_of
from medseg.export.fusions import culprits, miscomputed
from medseg.export.parity import Budget, budget_for, compare, onnx_infer, shortfall
from medseg.export.products import multiply_adds, products
from medseg.export.quantize import int8_share, quantized, restored
from medseg.export.refit import Refit, applied, refitted
from medseg.export.samples import Calibration, Drawn
from medseg.export.search import HALF, Lowered, Lowering, all_within, quality, tried
from medseg.export.signs import Bound, bounds
from medseg.task import Array, Network

STRENGTHS = (0.5, 0.75, 0.25, 1.0)  # of evening channels; see quantize.ranges_of
SEARCHED = 3  # ways of which the one that computes the most in int8 is taken
ENOUGH = 0.9  # of the weight bytes and of the work in int8: no further way is searched
PADDING = 0.1  # of the bound's allowance: what padding that stands for a base may take of it
MATTERS = 0.25  # of the products: fewer without a sign change little, and each search takes minutes


@dataclass(frozen=True)
class Way:
    """One way to make a graph int8: the ranges of its products by node, and where they are from, in words.

    If it has samples, its convolutions' weights are refitted to the rounding of these.
    """

    model: onnx.ModelProto
    ranges: Mapping[str, Range]
    origin: str
    samples: Sequence[Array] = ()

    @cached_property
    def _refits(self) -> Mapping[str, Refit]:
        return refitted(equalized(self.model, self.ranges), self.ranges, self.samples) if self.samples else {}

    @property
    def signed(self) -> bool:
        """Whether all of its int8 has a sign, as TensorRT needs it."""
        return all(one.signed for one in self.ranges.values())

    def lowering(self, known: Calibration) -> Lowering:
        """How its files are made and judged."""
        even = equalized(self.model, self.ranges)
        everywhere = applied(quantized(even, self.ranges, known.samples[0]), self._refits)
        return Lowering(
            precision="int8",
            names=list(self.ranges),
            make=lambda keep: restored(everywhere, self.model, keep),
            judge=onnx_infer,
            share=int8_share,
            least_share=0.1,
        )


def ways(
    model: onnx.ModelProto, network: Network, known: Calibration, seen: Drawn, signed_only: bool = False
) -> list[Way]:
    """A way for each strength of evening, with ranges up to the largest values on the samples that are seen.

    The first one's model with every product in int8 answers best on the known samples. Then the same ways follow with
    no sign for what has a bound, unless `signed_only`, or if less than MATTERS of the products would have none; then
    the last ones again, refitted. Raises ExportError where there is nothing that can be int8.
    """
    if not products(model):
        raise ExportError(
            f"int8 of {network.name} is not recorded: it has no convolution or matrix product with weights; expected "
            "one at least: use another precision"
        )
    peaks = channel_peaks(model, seen.samples)
    kinds = [evened(model, peaks, seen.origin)]
    parities = [tried(way.lowering(known), network, known, {}).parity for way in kinds[0]]
    budget = budget_for("int8")
    order = sorted(range(len(parities)), key=lambda index: quality(network, parities[index], budget), reverse=True)
    bounded = {} if signed_only else _usable(model, network, known, peaks)
    if bounded and len(bounded) >= MATTERS * len(peaks):
        peaks = channel_peaks(model, seen.samples, bounded)
        kinds.append(evened(model, peaks, f"{seen.origin}, unsigned where bounded", bounded))
    kinds.append([replace(way, samples=seen.samples, origin=f"{way.origin}, refitted") for way in kinds[-1]])
    return [kind[index] for kind in kinds for index in order]


def evened(
    model: onnx.ModelProto, peaks: Mapping[str, Array], origin: str, bounds: Mapping[str, Bound] | None = None
) -> list[Way]:
    """A way for each of STRENGTHS, with ranges up to the peaks of the products' channels."""
    return [
        Way(model, ranges_of(peaks, strength, bounds), f"largest values on {origin}, evened by {strength:g}")
        for strength in STRENGTHS
    ]


def given(model: onnx.ModelProto, ranges: Sequence[Range]) -> list[Way]:
    """The only way for a graph whose weights were fitted to these ranges, one for each product in order."""
    return [Way(model, ranges_by_node(model, ranges), "fitted with the weights")]


def int8_within(ways: Sequence[Way], network: Network, known: Calibration, budget: Budget) -> Iterator[Lowered]:
    """The int8 models within the budget on all samples, for who may refuse one of them.

    Of the first SEARCHED ways, the one that computes the most in int8 comes first. If there are ways without signs and
    the first one with signs has not ENOUGH of its weights and of its work in int8, those are searched too; if none has
    HALF of both, refitted ones. Then come the other ways. Raises ExportError if none is within the budget.
    """
    work = multiply_adds(ways[0].model, known.samples[0])
    found: list[Lowered] = []
    refused: list[ExportError] = []
    plain = [way for way in ways if not way.samples]
    signed, unsigned = (iter([way for way in plain if way.signed == sign]) for sign in (True, False))
    refits = iter([way for way in ways if way.samples])
    first = SEARCHED if all(way.signed for way in plain) else 1  # unsigned ways lose less, and come next

    def searched(some: Iterable[Way]) -> Iterator[Lowered]:
        for way in some:
            try:
                lowering = way.lowering(known)
                for one in all_within(lowering, network, known, budget, miscomputed(lowering, known.samples)):
                    found.append(replace(one, facts={"ranges": way.origin}))
                    yield found[-1]
            except ExportError as error:
                refused.append(error)

    def full(one: Lowered) -> int:
        return sum(work[name] for name in one.kept)

    def low(one: Lowered) -> float:
        return min(one.share["weight_bytes"], 1 - full(one) / sum(work.values()))

    for kind, most, wanted in ((signed, first, ENOUGH), (unsigned, SEARCHED, ENOUGH), (refits, SEARCHED, HALF)):
        if not any(low(one) >= wanted for one in found):
            next((one for one in searched(islice(kind, most)) if low(one) >= ENOUGH), None)
    yield from sorted(found, key=lambda one: (full(one), -one.share["weight_bytes"]))
    yield from searched(chain(signed, unsigned, refits))
    if not found:
        raise refused[0]


def _usable(
    model: onnx.ModelProto, network: Network, known: Calibration, peaks: Mapping[str, Array]
) -> dict[str, Bound]:
    """The bounds of products' inputs, by node, but those whose base would show where padding stands for it."""
    bound_of, constants = bounds(model), {one.name for one in model.graph.initializer}
    found = {node.name: bound_of[node.input[0]] for node in products(model) if node.input[0] in bound_of}
    moved = {
        node.name: found[node.name]
        for node in products(model)
        if node.name in found and not found[node.name].is_zero and _can_move(node, peaks[node.name], constants)
    }

    def shows(group: Sequence[str]) -> bool:
        ranges = {name: Range(np.ones_like(peaks[name]), 1.0, moved[name]) for name in group}
        infer = onnx_infer(equalized(model, ranges))
        parity = compare(network, known.references, map(infer, known.samples))
        return shortfall(network, parity, budget_for("int8").widened(PADDING)) is not None

    shown = set(culprits(list(moved), shows))
    return {name: bound for name, bound in found.items() if bound.is_zero or (name in moved and name not in shown)}


def _can_move(node: onnx.NodeProto, peaks: Array, constants: Collection[str]) -> bool:
    """Whether its bias can make up for a base: of a convolution that has a range for each channel, and a known bias."""
    return node.op_type == "Conv" and len(peaks) > 1 and all(name in constants for name in node.input[2:] if name)
