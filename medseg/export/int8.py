"""INT8 within a budget: of the ways that are searched, the one whose file computes the most in int8 is taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from medseg.errors import ExportError
from medseg.export.fusions import miscomputed
from medseg.export.parity import Budget
from medseg.export.samples import Calibration
from medseg.export.search import Lowered, Order, all_within
from medseg.export.ways import ENOUGH, Turn, Way
from medseg.task import Network


def int8_within(turns: Iterable[Turn], network: Network, known: Calibration, budget: Budget) -> Iterator[Lowered]:
    """The int8 models within the budget on all samples, for who may refuse one of them.

    A turn is searched until a file has ENOUGH of its weights and of its work in int8; then those that were found come,
    the one that computes the most in int8 first. After them come the models of all other ways. To find the sensitive
    nodes' order takes most of the time, so the order, and the errors in words, are those of the first way of the same
    kind. Raises ExportError if none is within the budget.
    """
    found: list[Lowered] = []
    refused: list[ExportError] = []
    begun, orders = set[str](), dict[tuple[bool, bool], Order]()

    def searched(way: Way) -> Iterator[Lowered]:
        begun.add(way.origin)
        try:
            lowering = way.lowering(known)
            kept = miscomputed(lowering, known.samples)
            order = orders.setdefault(way.kind, Order(lowering, network, known, kept))
            for one in all_within(lowering, network, known, budget, kept, order):
                found.append(replace(one, facts={"ranges": way.origin}))
                yield found[-1]
        except ExportError as error:
            refused.append(error)

    def left(ways: Iterable[Way]) -> Iterator[Lowered]:
        return chain.from_iterable(searched(way) for way in ways if way.origin not in begun)

    for turn in turns:
        if any(one.lowered >= turn.wanted for one in found):
            break
        next((one for one in left(turn.ways) if one.lowered >= ENOUGH), None)
    yield from sorted(found, key=lambda one: (-one.share["work"], -one.share["weight_bytes"]))
    for turn in turns:
        yield from left(turn.ways)
    if not found:
        raise refused[0]
