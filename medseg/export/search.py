"""The search for nodes that must stay float32: by measurement on calibration samples, not by a list of names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from medseg.errors import ExportError
from medseg.export.parity import (
    Budget,
    Parity,
    compare,
    is_classifier,
    log_odds,
    probabilities,
    shortfall,
)
from medseg.export.samples import Calibration
from medseg.task import Array, Infer, Network

RANKED = 16  # crops on which a classifier's sensitive nodes are searched
GROUPS = 16  # into how many parts the graph is first divided when its sensitive nodes are searched
HALF = 0.5  # of the weight bytes and of the work: what a file should have at least
BACK = 8  # nodes that are lowered again if they are not missed


@dataclass(frozen=True)
class Trial:
    """What a lowered model gave: the nodes it keeps in float32 and why, its parity, and the lowered share."""

    kept: Mapping[str, str]
    parity: Parity
    share: Mapping[str, float]

    @property
    def lowered(self) -> float:
        """How much of it is lowered, the least of its shares: few weights at full size may be most of the work."""
        return min(self.share.values())


@dataclass(frozen=True)
class Lowered(Trial):
    """A model of lower precision; `facts` is what else the manifest says of how it was made."""

    model: onnx.ModelProto
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lowering:
    """How models of one precision are made, judged and measured; the search is the same for all precisions.

    The search looks at drafts, of which it makes many.
    """

    precision: str
    cost: Mapping[str, float]  # of keeping a node in float32: for each that can be lowered, in the graph's order
    draft: Callable[[Collection[str]], onnx.ModelProto]  # the names that stay float32 -> the draft of the model
    judge: Callable[[onnx.ModelProto], Infer]  # of a draft
    share: Callable[[onnx.ModelProto], Mapping[str, float]]  # of a draft
    least_share: float  # of weight bytes: a file with less does not deserve its name
    most: int  # sensitive nodes that may go back to float32
    finish: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda draft: draft  # the draft -> the model

    def make(self, keep: Collection[str]) -> onnx.ModelProto:
        """The model in which these nodes stay float32."""
        return self.finish(self.draft(keep))

    @property
    def names(self) -> list[str]:
        """The nodes that can be lowered, in the graph's order."""
        return list(self.cost)


def within(
    lowering: Lowering, network: Network, calibration: Calibration, budget: Budget, kept: Mapping[str, str]
) -> Lowered:
    """The lowered model within the budget on the calibration samples. The nodes in `kept` stay float32 from the start.

    At most half of the budget is used, so that the rest is left for the next patient: the fewest nodes go back to
    float32 that bring the loss below, first the node that changes the answer most for what it costs; then those that
    are not missed, the dearest first, are lowered again. If none bring it below half, the fewest that bring it below
    six tenths of the budget, or seven, and so on. Raises ExportError if no model within it deserves its name.
    """
    return next(all_within(lowering, network, calibration, budget, kept))


def all_within(
    lowering: Lowering,
    network: Network,
    calibration: Calibration,
    budget: Budget,
    kept: Mapping[str, str],
    order: Order | None = None,
) -> Iterator[Lowered]:
    """The same model; then, if less than HALF of it is lowered, one that uses all of the budget, if it lowers more.

    Nodes go back to float32 in the given order; without one, in the lowering's own.
    """
    trials = _Trials(lowering, network, calibration, kept, order or Order(lowering, network, calibration, kept))

    def accepted(found: Trial) -> Lowered:
        _accept(lowering, network, found, budget)
        return Lowered(found.kept, found.parity, found.share, lowering.make(found.kept))

    laxer = (trials.fewest(budget.widened(tenths / 10)) for tenths in range(6, 11))
    first = trials.least(budget.halved()) or next(filter(None, laxer), None) or trials.best(budget)
    yield accepted(first)
    more = trials.fewest(budget) if first.lowered < HALF else None
    if more and more.lowered > first.lowered:
        yield accepted(more)


class Order:
    """The nodes that go back to float32, in `worst_first`'s order, which is found only as far as it is asked for."""

    def __init__(self, lowering: Lowering, network: Network, calibration: Calibration, kept: Mapping[str, str]) -> None:
        self._more = worst_first(lowering, network, calibration, kept)
        self._known: list[tuple[str, str]] = []

    def first(self, count: int) -> dict[str, str]:
        """So many of the nodes, or all if there are fewer, each with the reason in words."""
        self._known += islice(self._more, max(0, count - len(self._known)))
        return dict(self._known[:count])


class _Trials:
    """Models of a lowering with the first so many of its sensitive nodes in float32, beside those kept from the start.

    Few models are made: counts are doubled until a model holds, and then halved between the last two.
    """

    def __init__(
        self,
        lowering: Lowering,
        network: Network,
        calibration: Calibration,
        kept: Mapping[str, str],
        order: Order,
    ) -> None:
        self._lowering, self._network, self._calibration, self._kept = lowering, network, calibration, kept
        self._order = order
        self._tried: dict[int, Trial] = {}  # without their models, which would fill the memory

    def least(self, budget: Budget) -> Trial | None:
        """The model within the budget that keeps least in float32; None if none was found.

        Nodes go back to the lower precision where that does not end it: those that cost most first.
        """
        found = self.fewest(budget)
        if found is None:
            return None
        for name in self._dearest(found):
            one = self._try({key: why for key, why in found.kept.items() if key != name})
            found = found if shortfall(self._network, one.parity, budget) else one
        return found

    def _dearest(self, found: Trial) -> list[str]:
        """The nodes that need not be kept, those that cost most first; at most BACK."""
        rest = [name for name in found.kept if name not in self._kept]
        return sorted(rest, key=lambda name: -self._lowering.cost[name])[:BACK]

    def fewest(self, budget: Budget) -> Trial | None:
        """The model within the budget that keeps the fewest nodes; None if none was found."""
        low, high = -1, 0
        while not self._ends(high, budget):
            low, high = high, self._grown(high)
            if low == high:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._ends(middle, budget) else (middle, high)
        return self._at(high) if self._holds(high, budget) else None

    def best(self, budget: Budget) -> Trial:
        """The best model that was tried."""
        first, *others = self._tried.values()
        worthy = [one for one in others if one.share["weight_bytes"] >= self._lowering.least_share]
        return max([first, *worthy], key=lambda found: quality(self._network, found.parity, budget))

    def _ends(self, count: int, budget: Budget) -> bool:
        """Whether more nodes need not be tried: this many suffice, or leave too little that is lowered."""
        return self._is_little(count) or self._holds(count, budget)

    def _holds(self, count: int, budget: Budget) -> bool:
        return not self._is_little(count) and not shortfall(self._network, self._at(count).parity, budget)

    def _is_little(self, count: int) -> bool:
        return count > 0 and self._at(count).share["weight_bytes"] < self._lowering.least_share

    def _grown(self, count: int) -> int:
        """Twice as many nodes, or as many as there are."""
        wanted = min(max(1, 2 * count), self._lowering.most)
        return len(self._order.first(wanted))

    def _at(self, count: int) -> Trial:
        if count not in self._tried:
            self._tried[count] = self._try({**self._order.first(count), **self._kept})
        return self._tried[count]

    def _try(self, kept: Mapping[str, str]) -> Trial:
        return tried(self._lowering, self._network, self._calibration, kept)


def tried(lowering: Lowering, network: Network, calibration: Calibration, kept: Mapping[str, str]) -> Trial:
    """What the model that keeps these nodes gives on all samples."""
    model = lowering.draft(kept)
    infer = lowering.judge(model)
    parity = compare(network, calibration.references, (infer(sample) for sample in calibration.samples))
    return Trial(kept, parity, lowering.share(model))


def quality(network: Network, parity: Parity, budget: Budget) -> tuple[bool, bool, float, float, float]:
    """What makes one model better than another; the larger, the better."""
    held = not shortfall(network, parity, budget)
    return held, parity.finite, min(parity.dice, parity.worst_dice), -parity.probability_error, -parity.odds_error


def _accept(lowering: Lowering, network: Network, found: Trial, budget: Budget) -> None:
    reason = shortfall(network, found.parity, budget)
    if not reason and found.share["weight_bytes"] < lowering.least_share:
        reason = f"only {found.share['weight_bytes']:.0%} of its weight bytes are, expected {lowering.least_share:.0%}"
    if reason:
        kept = f"with {len(found.kept)} nodes kept in float32"
        raise ExportError(
            f"{lowering.precision} of {network.name} is not recorded: {reason}, {kept}: use another precision or --dice"
        )


def worst_first(
    lowering: Lowering, network: Network, calibration: Calibration, kept: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The nodes, each with the error that lowering only this node causes, in words; the largest for its cost first.

    They are cut into groups of about the same cost. The group with the largest error for its cheapest node is always
    cut into smaller ones, until it is one node: a group's error is about that of its worst node, or larger.
    """
    names = sorted(lowering.names, key=lambda name: lowering.cost[name])
    sample = _telling(network, calibration, lowering.judge(lowering.draft(kept)))
    expected = _score(network, lowering.judge(lowering.draft(names))(sample))
    unit = "log-odds" if is_classifier(network) else "probabilities"

    def error(group: Sequence[str]) -> float:
        infer = lowering.judge(lowering.draft(set(names) - set(group)))
        return _moved(_score(network, infer(sample)), expected)

    heap: list[tuple[float, int, float, list[str]]] = []
    parts = _cut([name for name in names if name not in kept], GROUPS)
    with tqdm(desc=f"{lowering.precision} search", unit=" trials", leave=False, disable=None) as progress:
        while parts or heap:
            for part in parts:
                moved = error(part)
                heappush(heap, (-moved / min(lowering.cost[name] for name in part), names.index(part[0]), moved, part))
                progress.update()
            *_, moved, group = heappop(heap)
            parts = _cut(group, 4) if len(group) > 1 else []
            if not parts:
                yield group[0], f"alone it moves {unit} by {moved:.1e}"


def _score(network: Network, logits: Array) -> Array:
    return log_odds(logits) if is_classifier(network) else probabilities(network, logits)


def _telling(network: Network, calibration: Calibration, infer: Infer) -> Array:
    """The input that shows errors best: the picture that changes most if all is lowered; crops that rank first."""
    if is_classifier(network):
        ranked = np.argsort([-log_odds(reference).max() for reference in calibration.references])
        return np.concatenate([calibration.samples[index] for index in ranked[:RANKED]])
    known = zip(calibration.samples, calibration.references, strict=True)
    moved = [_moved(_score(network, infer(sample)), _score(network, reference)) for sample, reference in known]
    return calibration.samples[int(np.argmax(moved))]


def _moved(score: Array, expected: Array) -> float:
    """The mean change; infinity where a score is not finite."""
    moved = float(np.abs(score - expected).mean())
    return moved if np.isfinite(moved) else np.inf


def _cut(names: list[str], parts: int) -> list[list[str]]:
    return [part.tolist() for part in np.array_split(names, parts) if len(part)]
