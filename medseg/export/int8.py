"""INT8 within a budget: several ways to choose the activations' ranges; the one whose file is best is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import onnx

from medseg.errors import ExportError
from medseg.export.fusions import miscomputed
from medseg.export.parity import Budget, budget_for, onnx_infer
from medseg.export.quantize import (
    Range,
    channel_peaks,
    equalized,
    int8_share,
    multiply_adds,
    products,
    quantized,
    ranges_by_node,
    ranges_of,
    restored,
)
from medseg.export.refit import Refit, applied, refitted
from medseg.export.samples import Calibration, Drawn
from medseg.export.search import Lowered, Lowering, quality, tried, within
from medseg.export.signs import never_negative
from medseg.task import Array, Network

STRENGTHS = (0.5, 0.75, 0.25, 1.0)  # of evening channels; see quantize.ranges_of
SEARCHED = 3  # ways of which the one that computes the most in int8 is taken
ENOUGH = 0.9  # of the weight bytes in int8: no further way is searched
HALF = 0.5  # of the same: convolutions need not be refitted
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
            make=lambda keep: restored(everywhere, even, keep),
            judge=onnx_infer,
            share=int8_share,
            least_share=0.1,
        )


def ways(
    model: onnx.ModelProto, network: Network, known: Calibration, seen: Drawn, signed_only: bool = False
) -> list[Way]:
    """A way for each strength of evening, with ranges up to the largest values on the samples that are seen.

    The first one's model with every product in int8 answers best on the known samples. Then the same ways follow with
    no sign for what is never negative, unless `signed_only`, or if less than MATTERS of the products would have none;
    then the first ones again, refitted. Raises ExportError where there is nothing that can be int8.
    """
    if not products(model):
        raise ExportError(
            f"int8 of {network.name} is not recorded: it has no convolution or matrix product with weights; expected "
            "one at least: use another precision"
        )
    peaks, free = channel_peaks(model, seen.samples), never_negative(model)
    signed = evened(model, peaks, seen.origin)
    parities = [tried(way.lowering(known), network, known, {}).parity for way in signed]
    budget = budget_for("int8")
    order = sorted(range(len(signed)), key=lambda index: quality(network, parities[index], budget), reverse=True)
    names = [node.name for node in products(model) if node.input[0] in free]
    both = not signed_only and len(names) >= MATTERS * len(peaks)
    unsigned = evened(model, peaks, f"{seen.origin}, unsigned if never negative", names) if both else []
    refits = [replace(way, samples=seen.samples, origin=f"{way.origin}, refitted") for way in signed]
    return [kind[index] for kind in (signed, unsigned, refits) if kind for index in order]


def evened(
    model: onnx.ModelProto, peaks: Mapping[str, Array], origin: str, unsigned: Collection[str] = ()
) -> list[Way]:
    """A way for each of STRENGTHS, with ranges up to the peaks of the products' channels."""
    return [
        Way(model, ranges_of(peaks, strength, unsigned), f"largest values on {origin}, evened by {strength:g}")
        for strength in STRENGTHS
    ]


def given(model: onnx.ModelProto, ranges: Sequence[Range]) -> list[Way]:
    """The only way for a graph whose weights were fitted to these ranges, one for each product in order."""
    return [Way(model, ranges_by_node(model, ranges), "fitted with the weights")]


def int8_within(ways: Sequence[Way], network: Network, known: Calibration, budget: Budget) -> Iterator[Lowered]:
    """The int8 models within the budget on all samples, for who may refuse one of them.

    Of the first SEARCHED ways, the one that computes the most in int8 comes first. If none has ENOUGH weights in int8,
    ways without signs are searched too; if none has HALF of them, refitted ones. Then come the other ways. Raises
    ExportError if none is within the budget.
    """
    found: list[Lowered] = []
    refused: list[ExportError] = []
    refits = iter([way for way in ways if way.samples])
    signed, unsigned = (iter([one for one in ways if one.signed == sign and not one.samples]) for sign in (True, False))

    def searched(some: Iterable[Way]) -> Iterator[Lowered]:
        for way in some:
            try:
                lowering = way.lowering(known)
                one = within(lowering, network, known, budget, miscomputed(lowering, known.samples))
            except ExportError as error:
                refused.append(error)
                continue
            found.append(replace(one, facts={"ranges": way.origin}))
            yield found[-1]

    for kind, enough in ((signed, ENOUGH), (unsigned, ENOUGH), (refits, HALF)):
        if not any(one.share["weight_bytes"] >= enough for one in found):
            next((one for one in searched(islice(kind, SEARCHED)) if one.share["weight_bytes"] >= enough), None)
    work = multiply_adds(ways[0].model, known.samples[0])
    yield from sorted(found, key=lambda one: (sum(work[name] for name in one.kept), -one.share["weight_bytes"]))
    yield from searched(chain(signed, unsigned, refits))
    if not found:
        raise refused[0]
