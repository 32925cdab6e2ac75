"""The loop of a cohort: give out cases, wait for any, record, try again what deserves it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medseg.cohort.case import INNOCENT, REFUSED, SUSPECT, Item, Outcome, Pool

_WAIT_S = 1.0


@dataclass(frozen=True)
class Settled:
    """A case that is over: its last outcome, and how often it was tried."""

    outcome: Outcome
    attempts: int


def carry_out(items: Iterable[Item], pool: Pool, retry: int, settled: Callable[[Sequence[Settled]], object]) -> None:
    """Every item through the pool; `settled` hears of those that are over, several at a time.

    What went wrong is tried again up to `retry` times, on another worker where there is one; what is refused is not.
    """
    new = iter(items)
    again: deque[tuple[Item, str]] = deque()  # with the worker that is better avoided
    tries: dict[str, int] = {}  # failed ones of cases that are not over
    flying = 0
    upcoming = next(new, None)
    while flying or again or upcoming:
        for _ in range(len(again)):
            item, avoid = again.popleft()
            if pool.take(item, avoid):
                flying += 1
            else:
                again.append((item, avoid))
        while upcoming and pool.take(upcoming):
            flying += 1
            upcoming = next(new, None)
        over = []
        for outcome in pool.receive(_WAIT_S):
            flying -= 1
            name = outcome.item.name
            tries[name] = tries.get(name, 0) + (outcome.fault not in (INNOCENT, SUSPECT))
            if outcome.answer or outcome.fault == REFUSED or tries[name] > retry:
                over.append(Settled(outcome, tries.pop(name)))
            else:
                again.append((outcome.item, outcome.worker))
        settled(over)
