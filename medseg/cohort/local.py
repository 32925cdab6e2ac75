"""Workers on this machine: each is a process of its own, which is restarted if it dies; it may use a server."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import wait
from time import monotonic

from medseg.cohort.case import INNOCENT, Item, Outcome, Work
from medseg.cohort.process import Process
from medseg.errors import RunError, ServerError

_STARTS = 3  # after so many deaths in a row before it was ready, a worker is given up
_REST_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # pauses until a server that does not answer is tried again
_LOOK_S = 0.5  # between two checks for cases that take too long


class Seat:
    """One worker: its work, its current process, and when it is used again after a failure."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.process: Process | None = None
        self.failures, self.again_at, self.why = 0, 0.0, ""

    def looked(self, timeout_s: float | None) -> list[Outcome]:
        """New outcomes of its cases; starts its process if there is none. Raises errors that a restart cannot cure."""
        if self.process is None:
            if monotonic() >= self.again_at:
                self.process = Process(self.work)
            return []
        found = list(self.process.outcomes())
        if timeout_s is not None and not self.process.gone:
            found += self.process.overdue(timeout_s)
        if any(one.answer for one in found):
            self.failures = 0
        if self.process.gone:
            self._left(self.process)
        elif silent := [one.error for one in found if one.fault == INNOCENT]:  # its server is away
            self._rest(silent[0])
        return found

    def _left(self, process: Process) -> None:
        self.process = None
        if process.cannot is not None:
            if not isinstance(process.cannot, ServerError):
                raise process.cannot
            self._rest(str(process.cannot))
        elif not process.ready:
            self.failures += 1
            if self.failures >= _STARTS:
                raise RunError(f"a worker died {_STARTS} times before it was ready; see the reason above")

    def _rest(self, why: str) -> None:
        self.why, self.again_at = why, monotonic() + _REST_S[min(self.failures, len(_REST_S) - 1)]
        self.failures += 1

    def room(self, item: Item) -> bool:
        """Whether it can take this case now."""
        return self.process is not None and monotonic() >= self.again_at and self.process.room(item)


class Local:
    """A pool of processes, one for each Work. A case fails if work on it takes longer than `timeout_s`.

    If no server answers for `patience_s` seconds, the cohort ends with an error.
    """

    def __init__(self, works: Sequence[Work], timeout_s: float | None = None, patience_s: float = 120.0) -> None:
        self._seats = [Seat(work) for work in works]
        self._timeout_s, self._patience_s, self._answered = timeout_s, patience_s, monotonic()

    def take(self, item: Item, avoid: str = "") -> bool:
        """Send a case to the worker with the fewest cases, see Pool."""
        free = [seat.process for seat in self._seats if seat.process and seat.room(item)]
        if not free:
            return False
        others = [one for one in free if one.name != avoid]
        min(others or free, key=lambda one: len(one.flights)).send(item)
        return True

    def receive(self, seconds: float) -> list[Outcome]:
        """New outcomes, see Pool. Raises ServerError if no server has answered for too long."""
        found = self._looked()
        if not found:
            pipes = [seat.process.pipe for seat in self._seats if seat.process]
            wait(pipes, min(seconds, _LOOK_S))
            found = self._looked()
        self._check_servers()
        return found

    def _looked(self) -> list[Outcome]:
        return [outcome for seat in self._seats for outcome in seat.looked(self._timeout_s)]

    def _check_servers(self) -> None:
        if not all(seat.failures and seat.work.url for seat in self._seats):
            self._answered = monotonic()
        elif monotonic() - self._answered > self._patience_s:
            raise ServerError(f"no server answered for {self._patience_s:g} s; the last said: {self._seats[-1].why}")

    @property
    def most(self) -> int:
        """How many cases all workers that are ready can hold."""
        held = (seat.process for seat in self._seats)
        return sum(one.most for one in held if one is not None and one.ready)

    def pids(self) -> list[int]:
        """The ids of the current processes."""
        return [seat.process.pid for seat in self._seats if seat.process]

    def close(self) -> None:
        """End all processes."""
        for seat in self._seats:
            if seat.process:
                seat.process.end()
