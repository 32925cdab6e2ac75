"""The ways to make a graph int8: how channels are evened, what needs no sign, and whether weights are refitted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
import onnx

from medseg.errors import ExportError
from medseg.export.constants import Constants
from medseg.export.evening import Range, channel_peaks, equalized, ranges_by_node, ranges_of
from medseg.export.fusions import culprits
from medseg.export.parity import budget_for, compare, onnx_infer, shortfall
from medseg.export.placement import placed
from medseg.export.products import costs, multiply_adds, products
from medseg.export.quantize import int8_share, quantized, restored
from medseg.export.refit import Refit, applied, refitted
from medseg.export.samples import Calibration, Drawn
from medseg.export.search import Lowering, quality, tried
from medseg.export.signs import Bound, bounds
from medseg.task import Array, Network

STRENGTHS = (0.5, 0.75, 0.25, 1.0)  # of evening channels; see evening.ranges_of
SEARCHED = 3  # ways of one kind of which the one that computes the most in int8 is taken
ENOUGH = 0.9  # of the weight bytes and of the work in int8: no further way is searched
WELL = 0.7  # of both: no refitted way is searched, which takes longest
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

    @property
    def kind(self) -> tuple[bool, bool]:
        """Ways of one kind differ in how channels are evened."""
        return self.signed, bool(self.samples)

    def lowering(self, known: Calibration) -> Lowering:
        """How its files are made and judged."""
        even, work = equalized(self.model, self.ranges), multiply_adds(self.model, known.samples[0])
        constants = Constants()
        everywhere = constants.taken(placed(applied(quantized(even, self.ranges), self._refits), known.samples[0]))
        full = constants.taken(self.model)
        return Lowering(
            precision="int8",
            cost=costs(self.model, products(self.model), work),
            draft=lambda keep: restored(everywhere, full, keep),
            judge=constants.infer,
            share=lambda candidate: int8_share(candidate, work),
            least_share=0.1,
            most=len(work),
            finish=constants.given_back,
        )


@dataclass(frozen=True)
class Turn:
    """Ways that are searched one after the other, if no file so far has this much of its weights and work in int8."""

    ways: Sequence[Way]
    wanted: float = ENOUGH


class Ways:
    """The ways for a graph, with a strength of evening each, and ranges up to the largest values on the samples seen.

    Each kind is made when it is asked for: those with signs, those without where something has a bound, and refitted
    ones. Of a kind, the one comes first whose model with every product in int8 answers best on the known samples.
    """

    def __init__(
        self, model: onnx.ModelProto, network: Network, known: Calibration, seen: Drawn, signed_only: bool = False
    ) -> None:
        """Raises ExportError where there is nothing that can be int8."""
        if not products(model):
            raise ExportError(
                f"int8 of {network.name} is not recorded: it has no convolution or matrix product with weights; "
                "expected one at least: use another precision"
            )
        self._model, self._network, self._known, self._seen = model, network, known, seen
        self._signed_only = signed_only

    def __iter__(self) -> Iterator[Turn]:
        """The turns in which they are searched; the last is for a judge who refuses all that others gave."""
        if self._ranked[0][0]:
            yield Turn(self.signed[:1])
        yield Turn((self.unsigned or self.signed)[:SEARCHED])
        yield Turn(self.refits[:SEARCHED], WELL)
        yield Turn([*self.signed, *self.unsigned, *self.refits], 0.0)

    @property
    def signed(self) -> list[Way]:
        """The ways with signs only."""
        return [way for _, way in self._ranked]

    @cached_property
    def _ranked(self) -> list[tuple[bool, Way]]:
        return self._best_first(evened(self._model, self._peaks, self._seen.origin))

    @cached_property
    def unsigned(self) -> list[Way]:
        """The ways with no sign for what has a bound; none if TensorRT is asked for, or if few products have one."""
        found = {} if self._signed_only else self._bounds
        if not found or len(found) < MATTERS * len(self._peaks):
            return []
        peaks = channel_peaks(self._model, self._seen.samples, found)
        origin = f"{self._seen.origin}, unsigned where bounded"
        return [way for _, way in self._best_first(evened(self._model, peaks, origin, found))]

    @cached_property
    def refits(self) -> list[Way]:
        """The ways without signs, or if there are none, those with signs, refitted."""
        ways = self.unsigned or self.signed
        return [replace(way, samples=self._seen.samples, origin=f"{way.origin}, refitted") for way in ways]

    @cached_property
    def _peaks(self) -> dict[str, Array]:
        return channel_peaks(self._model, self._seen.samples)

    def _best_first(self, ways: Sequence[Way]) -> list[tuple[bool, Way]]:
        """The ways, each with whether its model holds with everything in int8."""
        budget = budget_for("int8")

        def answers(way: Way) -> tuple[Any, ...]:
            parity = tried(way.lowering(self._known), self._network, self._known, {}).parity
            return quality(self._network, parity, budget)

        found = [(answers(way), way) for way in ways]
        found.sort(key=itemgetter(0), reverse=True)
        return [(held, way) for (held, *_), way in found]

    @cached_property
    def _bounds(self) -> dict[str, Bound]:
        """The bounds of products' inputs, by node, but those whose base would show where padding stands for it."""
        bound_of, constants = bounds(self._model), {one.name for one in self._model.graph.initializer}
        nodes = [node for node in products(self._model) if node.input[0] in bound_of]
        found = {node.name: bound_of[node.input[0]] for node in nodes}
        moved = {
            node.name: found[node.name]
            for node in nodes
            if not found[node.name].is_zero and _can_move(node, self._peaks[node.name], constants)
        }

        def shows(group: Sequence[str]) -> bool:
            ranges = {name: Range(np.ones_like(self._peaks[name]), moved[name]) for name in group}
            infer = onnx_infer(equalized(self._model, ranges))
            parity = compare(self._network, self._known.references, map(infer, self._known.samples))
            return shortfall(self._network, parity, budget_for("int8").widened(PADDING)) is not None

        shown = set(culprits(list(moved), shows))
        return {name: bound for name, bound in found.items() if bound.is_zero or (name in moved and name not in shown)}


def evened(
    model: onnx.ModelProto, peaks: Mapping[str, Array], origin: str, bounds: Mapping[str, Bound] | None = None
) -> list[Way]:
    """A way for each of STRENGTHS, with ranges up to the peaks of the products' channels."""
    return [
        Way(model, ranges_of(peaks, strength, bounds), f"largest values on {origin}, evened by {strength:g}")
        for strength in STRENGTHS
    ]


def given(model: onnx.ModelProto, ranges: Sequence[Range]) -> list[Turn]:
    """The only way for a graph whose weights were fitted to these ranges, one for each product in order."""
    return [Turn([Way(model, ranges_by_node(model, ranges), "fitted with the weights")])]


def _can_move(node: onnx.NodeProto, peaks: Array, constants: Collection[str]) -> bool:
    """Whether its bias can make up for a base: of a convolution that has a range for each channel, and a known bias."""
    return node.op_type == "Conv" and len(peaks) > 1 and all(name in constants for name in node.input[2:] if name)
