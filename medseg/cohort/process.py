"""A worker's process as the driver sees it: its cases, how long each takes, and what the process's death means."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from medseg.cohort.case import BROKEN, INNOCENT, SUSPECT, Item, Outcome, Work
from medseg.errors import MedsegError, RunError, ServerError

_LEAVES_S = 5.0  # a process that closed its pipe gets so long to end, then it is killed


@dataclass
class Flight:
    """A case that a worker has; `stage` is "" while it waits for its next stage."""

    item: Item
    stage: str = ""
    spent_s: float = 0.0  # in finished stages
    since: float = field(default_factory=monotonic)
    begun: bool = False

    def active_s(self) -> float:
        """How many seconds it was worked on."""
        return self.spent_s + (monotonic() - self.since if self.stage else 0.0)

    def enter(self, stage: str) -> None:
        """Begin a stage; "" waits for the next one."""
        self.spent_s = self.active_s()
        self.stage, self.since = stage, monotonic()
        self.begun = self.begun or bool(stage)


class Process:
    """One worker. `cannot` is why it could not begin: only a ServerError may be over after a while."""

    def __init__(self, work: Work) -> None:
        ours, theirs = socket.socketpair()
        search = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "medseg.cohort.worker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=2,  # libraries may print; that is not part of our output
            pass_fds=[theirs.fileno()],
            env=os.environ | search | dict(work.environment),
        )
        theirs.close()
        self.pipe: Connection[Any, Any] = Connection(ours.detach())
        self.pipe.send(work)
        self.name, self.most, self.ready = f"process {self._process.pid}", 1, False
        self.flights: dict[str, Flight] = {}
        self.cannot: MedsegError | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self.pipe.closed

    def room(self, item: Item) -> bool:
        """Whether it can take this case now; a case that must be alone needs an idle worker."""
        if not self.ready or self.gone or any(one.item.alone for one in self.flights.values()):
            return False
        return not self.flights if item.alone else len(self.flights) < self.most

    def send(self, item: Item) -> None:
        """Send it a case. If it has just died, `outcomes` notices that next time."""
        self.flights[item.name] = Flight(item)
        with suppress(OSError):
            self.pipe.send(item)

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes that it has sent since the last call."""
        try:
            while self.pipe.poll():
                yield from self._heard(*self.pipe.recv())
        except (EOFError, OSError):
            yield from self._died()

    def _heard(self, kind: str, *said: Any) -> Iterator[Outcome]:
        if kind == "ready":
            self.most, self.name, self.ready = *said, True
        elif kind == "cannot":
            self.cannot = (ServerError if said[1] else RunError)(said[0])
        elif kind == "outcome":
            if self.flights.pop(said[0].item.name, None):
                yield said[0]
        elif said[0] in self.flights:
            self.flights[said[0]].enter(said[1])

    def overdue(self, timeout_s: float) -> Iterator[Outcome]:
        """Kill it if work on a case takes too long; its other cases are not to blame."""
        late = next((one for one in self.flights.values() if one.active_s() > timeout_s), None)
        if late is None:
            return
        self.end()
        said = f"its {late.stage} stage took over {timeout_s:g} s (--timeout), and its worker was ended"
        for one in self._dropped():
            yield self._lost(one, BROKEN if one is late else INNOCENT, said)

    def _died(self) -> Iterator[Outcome]:
        """The process died. If one case was begun, that case is at fault; of several, each is tried again alone."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVES_S)
        self.end()
        begun = [one for one in self.flights.values() if one.begun]
        for one in self._dropped():
            fault = INNOCENT if one not in begun else BROKEN if len(begun) == 1 else SUSPECT
            at = f"at its {one.stage} stage" if one.stage else "between two stages"
            yield self._lost(one, fault, f"its worker {_how(self._process.returncode)} while it was {at}")

    def _dropped(self) -> list[Flight]:
        flights = list(self.flights.values())
        self.flights.clear()
        return flights

    def _lost(self, flight: Flight, fault: str, error: str) -> Outcome:
        item = replace(flight.item, alone=flight.item.alone or fault == SUSPECT)
        return Outcome(item, self.name, None, fault, error, {"lost": flight.active_s()})

    def end(self) -> None:
        """Kill it and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended (exit code {code})"
    name = signal.Signals(-code).name
    return f"was killed by {name}{' (out of memory, or by a person)' if name == 'SIGKILL' else ''}"
