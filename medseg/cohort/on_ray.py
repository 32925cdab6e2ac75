"""Workers on a Ray cluster: each is an actor, which runs the same worker process as a single machine does.

So bad cases are handled by the same code everywhere; this file handles only lost actors and nodes.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayError, RayTaskError

from medseg.cohort.case import BROKEN, SUSPECT, Item, Outcome, Work
from medseg.cohort.local import Local
from medseg.errors import InputError, MedsegError, RunError

_LOOK_S = 2.0  # an actor's longest wait for an outcome
_STARTS = 5  # after so many lost actors in a row, none of which was ready, the cohort fails
_LISTENS_S = 10.0
_LOST = "its worker was lost, with its actor or its whole node"


class Hand:
    """The code of an actor: one worker on a node of the cluster."""

    def __init__(self, work: Work, timeout_s: float | None) -> None:
        self._pool, self._waiting = Local([work], timeout_s), deque[Item]()

    def exchange(self, items: Sequence[Item]) -> tuple[list[Outcome], int]:
        """Take cases; return the outcomes of earlier ones, and how many cases it can hold: 0 until it is ready."""
        self._waiting += items
        while self._waiting and self._pool.take(self._waiting[0]):
            self._waiting.popleft()
        return self._pool.receive(_LOOK_S), self._pool.most


@dataclass
class Held:
    """An actor as the driver sees it."""

    actor: Any
    outbox: list[Item] = field(default_factory=list)  # cases for the next call
    flights: dict[str, Item] = field(default_factory=dict)
    call: Any = None  # the reference of the running call
    most: int = 0
    name: str = ""

    def room(self, item: Item) -> bool:
        """Whether it can take this case now."""
        if any(one.alone for one in self.flights.values()):
            return False
        return self.most > 0 and (not self.flights if item.alone else len(self.flights) < self.most)


class Actors:
    """A pool of actors; a lost actor is replaced when the cluster has room."""

    def __init__(self, work: Work, address: str, workers: int | None, gpus: int, timeout_s: float | None) -> None:
        self._ours = not ray.is_initialized()
        connect(address)
        cores = [int(one["Resources"].get("CPU", 0)) for one in ray.nodes() if one["Alive"]]
        count = workers or gpus or max(1, len([one for one in cores if one]))
        made = ray.remote(Hand).options(**_needs(count, gpus, [one for one in cores if one]))
        self._made = lambda: Held(made.remote(work, timeout_s))
        self._held = [self._made() for _ in range(count)]
        self._starts = 0

    def take(self, item: Item, avoid: str = "") -> bool:
        """Send a case to the actor with the fewest cases, see Pool."""
        free = [one for one in self._held if one.room(item)]
        if not free:
            return False
        chosen = min([one for one in free if one.name != avoid] or free, key=lambda one: len(one.flights))
        chosen.flights[item.name] = item
        chosen.outbox.append(item)
        return True

    def receive(self, seconds: float) -> list[Outcome]:
        """New outcomes, see Pool."""
        for one in self._held:
            if one.call is None:
                one.call, one.outbox = one.actor.exchange.remote(one.outbox), []
        calls = {one.call: one for one in self._held}
        ready, _ = ray.wait(list(calls), timeout=seconds)
        if ready:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return [outcome for call in ready for outcome in self._heard(calls[call])]

    def _heard(self, one: Held) -> list[Outcome]:
        """The outcomes of an actor's call; if the actor is lost, that its cases are lost."""
        try:
            outcomes, one.most = ray.get(one.call)
        except RayTaskError as error:
            if isinstance(error.cause, MedsegError):
                raise error.cause from None
            raise
        except RayError as error:
            return self._lost(one, error)
        one.call = None
        for outcome in outcomes:
            one.name = outcome.worker
            one.flights.pop(outcome.item.name, None)
        self._starts = 0 if one.most else self._starts
        return outcomes

    def _lost(self, one: Held, error: RayError) -> list[Outcome]:
        """Replace a lost actor; its cases are tried again, each alone if it had several."""
        self._starts += not one.most
        if self._starts >= _STARTS:
            raise RunError(f"{_STARTS} actors in a row were lost before they were ready: {_first(error)}")
        with suppress(RayError):
            ray.kill(one.actor)  # it may still run, behind a network that failed
        self._held[self._held.index(one)] = self._made()
        fault = BROKEN if len(one.flights) == 1 else SUSPECT
        items = [replace(item, alone=item.alone or fault == SUSPECT) for item in one.flights.values()]
        return [Outcome(item, one.name, None, fault, _LOST) for item in items]

    def close(self) -> None:
        """End all actors, and leave the cluster if it was joined for this cohort."""
        for one in self._held:
            with suppress(RayError):
                ray.kill(one.actor)
        if self._ours:
            ray.shutdown()


def connect(address: str) -> None:
    """Join a cluster, unless this process is in one already. Raises InputError if there is none."""
    if ray.is_initialized():
        return
    try:
        _look(address)
        ray.init(address, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"--address is {address!r}, and no Ray cluster answers there ({_first(error)}); expected one that runs: "
            "`ray start --head`, or --address local"
        ) from error


def _look(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT: Ray would keep trying for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _LISTENS_S).close()


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _needs(count: int, gpus: int, cores: Sequence[int]) -> dict[str, Any]:
    """What each actor reserves: a GPU, or its share of a node. They are spread over nodes; Ray never restarts them."""
    usual = {"scheduling_strategy": "SPREAD", "max_restarts": 0}
    if gpus:
        return usual | {"num_gpus": 1, "num_cpus": 1}
    on_each = ceil(count / len(cores)) if cores else 1
    return usual | {"num_cpus": max(1, min(cores, default=1) // on_each)}
