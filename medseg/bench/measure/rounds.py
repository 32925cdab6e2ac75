"""Measure: one target, all cases: first answer, ledger and score one at a time, then under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle, islice
from statistics import median
from time import perf_counter

import numpy as np

from medseg.bench.measure.load import (
    TIMEOUT,
    Asked,
    Crew,
    Level,
    Plan,
    Timing,
    ask_within,
    closed_loop,
    open_loop,
    within,
)
from medseg.bench.measure.served import Spent, spent
from medseg.bench.measure.target import BenchTarget, Statistics
from medseg.bench.record import Facts
from medseg.errors import MedsegError
from medseg.task import Tensors, Unread
from medseg.tasks.scorer import Scored, Scorer

Say = Callable[[str], None]
PINGS = 20  # empty requests; their median is used
PATIENCE = 3  # after this many requests in a row without an answer in time, a target is not asked any more


@dataclass
class Measured:
    """Everything measured of one target."""

    name: str
    facts: Facts = field(default_factory=dict)
    first: Timing | None = None  # the very first request, cold
    serial: list[Timing] = field(default_factory=list)  # one at a time, every case in every round
    levels: list[Level] = field(default_factory=list)
    scored: Scored = field(default_factory=Scored)
    digests: dict[str, str] = field(default_factory=dict)  # case -> sha256 of the answer
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False
    silent: int = 0  # the number of latest requests in a row that were not answered in time
    round_trip_s: float | None = None  # of an empty request
    server: Spent = field(default_factory=dict)  # what the server spent on each of the serial requests, in the mean

    @property
    def timings(self) -> list[Timing]:
        """Every timed request."""
        return self.serial + [timing for level in self.levels for timing in level.timings]


class _SilentError(Exception):
    """A target left PATIENCE requests in a row without an answer."""


@dataclass(frozen=True)
class Loads:
    """Which levels of load to try."""

    concurrency: Sequence[int] = ()
    rates: Sequence[float] = ()  # requests per second
    arrivals: str = "poisson"


@dataclass(frozen=True)
class _Asking:
    """The target, the cases, how they are asked, and where the results are collected."""

    target: BenchTarget
    cases: Sequence[Unread]
    plan: Plan
    say: Say
    result: Measured
    scorer: Scorer | None = None
    crew: Crew = field(default_factory=Crew)


def measure(
    target: BenchTarget, cases: Sequence[Unread], plan: Plan, loads: Loads, say: Say, scorer: Scorer | None = None
) -> Measured:
    """The measurement of a target. Failures are part of the result; a target that only fails is not asked further.

    After PATIENCE timeouts in a row the rest is left out, and the result says so.

    Ctrl-C ends it: the result then holds what was measured so far, and says that it was interrupted.
    """
    result = Measured(target.name, target.facts)
    asking = _Asking(target, cases, plan, say, result, scorer)
    try:
        _one_at_a_time(asking)
        for level in _levels(asking, loads):
            say(f"{target.name}: {level.load:g} {'at once' if level.mode == 'closed' else 'requests/s'}: done")
            result.levels.append(level)
            if all(timing.error for timing in level.timings):
                break
    except KeyboardInterrupt:
        result.interrupted = True
        result.problems.append("interrupted: the rest was not measured")
    except _SilentError:
        late = f"{PATIENCE} requests in a row had no answer within {plan.timeout_s:g} s"
        result.problems.append(f"{late}: the rest was not measured")
    if scorer:
        result.scored = scorer.scored()
    result.problems += _failures(result)
    return result


def _one_at_a_time(asking: _Asking) -> None:
    """The first answer, the warm-up and the rounds; a first answer that took long counts as the round's first."""
    target, cases, plan, result = asking.target, asking.cases, asking.plan, asking.result
    asking.say(f"{target.name}: warming up")
    cold = _statistics(asking)
    result.first, answer = _ask(asking, cases[0])
    long = plan.long_s is not None and result.first.error is None and result.first.latency_s > plan.long_s
    for case in islice(cycle(cases), 0 if long else plan.warmup):
        _ask(asking, case)
    result.round_trip_s = _round_trip_s(asking)
    before = cold if long else _statistics(asking)
    if long:
        _keep(asking, cases[0], result.first, answer)
    try:
        _rounds(asking, 1 if long else 0)
    finally:
        answered = sum(timing.error is None for timing in result.serial)
        after = _statistics(asking)
        result.server = spent(before, after, answered) if before and after and answered else {}


def _rounds(asking: _Asking, asked: int) -> None:
    """Every case in every round, except those of the first round that were already asked."""
    plan, cases = asking.plan, asking.cases
    rounds = max(plan.rounds, -(-plan.requests // len(cases)))
    for turn in range(rounds):
        if turn >= plan.rounds and sum(timing.latency_s for timing in asking.result.serial) > plan.enough_s:
            return
        asking.say(f"{asking.target.name}: round {turn + 1} of {rounds} over {len(cases)} cases")
        for case in cases[0 if turn else asked :]:
            _keep(asking, case, *_ask(asking, case))


def _ask(asking: _Asking, case: Unread) -> Asked:
    """One request; raises _SilentError where the target did not answer too many requests before it."""
    if asking.result.silent >= PATIENCE:
        raise _SilentError
    timing, answer = ask_within(asking.crew, asking.target, case, asking.plan.timeout_s)
    asking.result.silent = asking.result.silent + 1 if timing.error == TIMEOUT else 0
    return timing, answer


def _round_trip_s(asking: _Asking) -> float | None:
    """The median of PINGS empty requests; None where there is no server, or where it no longer answers."""
    ping = asking.target.ping
    if ping is None or asking.result.silent:
        return None

    def one() -> float | None:
        start_s = perf_counter()
        try:
            ping()
        except MedsegError:
            return None
        return perf_counter() - start_s

    times = within(asking.crew, lambda: [one() for _ in range(PINGS)], asking.plan.timeout_s) or []
    answered = [time_s for time_s in times if time_s is not None]
    return median(answered) if answered else None


def _statistics(asking: _Asking) -> Statistics:
    """The server's statistics; none where there is no server, or where it no longer answers."""
    read = asking.target.statistics
    if read is None or asking.result.silent:
        return {}

    def tried() -> Statistics:
        try:
            return read()
        except MedsegError:
            return {}

    return within(asking.crew, tried, asking.plan.timeout_s) or {}


def _keep(asking: _Asking, case: Unread, timing: Timing, answer: Tensors | None) -> None:
    """Record a request's times and its answer's score."""
    result = asking.result
    result.serial.append(timing)
    if answer is None:
        return
    fingerprint = digest(answer)
    if result.digests.setdefault(case.id, fingerprint) != fingerprint:
        result.problems.append(f"{case.id}: two answers to the same request differ")
    if asking.scorer:
        asking.scorer.add(case.id, answer)


def _levels(asking: _Asking, loads: Loads) -> Iterator[Level]:
    """The levels; none for a silent target, because a level would wait for it once for each of its clients."""
    if asking.result.silent >= PATIENCE and (loads.concurrency or loads.rates):
        raise _SilentError
    whom = asking.crew, asking.target, asking.cases
    for concurrency in loads.concurrency:
        yield closed_loop(*whom, concurrency, asking.plan)
    for rate in loads.rates:
        yield open_loop(*whom, rate, asking.plan, loads.arrivals)


def _failures(result: Measured) -> list[str]:
    errors = [timing.error for timing in result.timings if timing.error]
    total = len(result.timings)
    return [f"{errors.count(error)} of {total} requests failed: {error}" for error in dict.fromkeys(errors)]


def digest(answer: Tensors) -> str:
    """SHA-256 over an answer's tensors, names and shapes: equal answers have equal digests."""
    hasher = sha256()
    for name in sorted(answer):
        tensor = np.ascontiguousarray(answer[name])
        hasher.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        hasher.update(tensor.tobytes() if tensor.dtype != object else repr(tensor.tolist()).encode())
    return hasher.hexdigest()
