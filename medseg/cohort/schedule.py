"""The loop of a cohort: give out cases, wait for outcomes, record them, and retry failed cases."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medseg.cohort.case import INNOCENT, REFUSED, SUSPECT, Item, Outcome, Pool

_WAIT_S = 1.0


@dataclass(frozen=True)
class Settled:
    """A finished case: its last outcome, and how often it was tried."""

    outcome: Outcome
    attempts: int


def carry_out(items: Iterable[Item], pool: Pool, retry: int, settled: Callable[[Sequence[Settled]], object]) -> None:
    """Send every item through the pool; `settled` is called with finished cases, several at a time.

    A failed case is tried again up to `retry` times, if possible on another worker. A refused case is not tried again.
    """
    new = iter(items)
    again: deque[tuple[Item, str]] = deque()  # with the worker to avoid if possible
    tries: dict[str, int] = {}  # how often each unfinished case failed
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
