"""Measure: one target, all its questions: first answer, ledger and score one at a time, then under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle, islice
from typing import Any

import numpy as np

from medseg.bench.accuracy import worst
from medseg.bench.load import Crew, Level, Plan, Timing, ask_within, closed_loop, open_loop
from medseg.bench.served import Spent, spent
from medseg.bench.target import Question, Statistics, Target
from medseg.errors import MedsegError
from medseg.task import Array, Tensors

Say = Callable[[str], None]
PICTURES = 4  # worst cases shown of each target


@dataclass
class Measured:
    """Everything measured of one target."""

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    first: Timing | None = None  # the very first request, cold
    serial: list[Timing] = field(default_factory=list)  # one at a time, every case in every round
    levels: list[Level] = field(default_factory=list)
    scores: dict[str, Mapping[str, float]] = field(default_factory=dict)  # case -> metric -> value
    digests: dict[str, str] = field(default_factory=dict)  # case -> sha256 of the answer
    pictures: dict[str, Array] = field(default_factory=dict)  # the worst cases, (h, w, 3) uint8
    problems: list[str] = field(default_factory=list)
    server: Spent = field(default_factory=dict)  # what the server spent on each of the serial requests, in the mean

    @property
    def timings(self) -> list[Timing]:
        """Every timed request."""
        return self.serial + [timing for level in self.levels for timing in level.timings]


@dataclass(frozen=True)
class Loads:
    """Which levels of load to try."""

    concurrency: Sequence[int] = ()
    rates: Sequence[float] = ()  # requests per second
    arrivals: str = "poisson"


def measure(target: Target, questions: Sequence[Question], plan: Plan, loads: Loads, say: Say) -> Measured:
    """What a target does; failures are part of the result, and a target that only fails is not asked for more."""
    result, crew = Measured(target.name, target.facts), Crew()
    say(f"{target.name}: warming up")
    result.first, _ = ask_within(crew, target, questions[0], plan.timeout_s)
    for question in islice(cycle(questions), plan.warmup):
        ask_within(crew, target, question, plan.timeout_s)
    before = _statistics(target)
    rounds = max(plan.rounds, -(-plan.requests // len(questions)))
    for turn in range(rounds):
        say(f"{target.name}: round {turn + 1} of {rounds} over {len(questions)} cases")
        _serial_round(crew, target, result, questions, plan)
    answered = sum(timing.error is None for timing in result.serial)
    result.server = spent(before, _statistics(target), answered) if before and answered else {}
    for level in _levels(crew, target, questions, plan, loads):
        say(f"{target.name}: {level.load:g} {'at once' if level.mode == 'closed' else 'requests/s'}: done")
        result.levels.append(level)
        if all(timing.error for timing in level.timings):
            break
    result.problems += _failures(result)
    return result


def _statistics(target: Target) -> Statistics:
    """The server's statistics; none where there is no server, or where it no longer answers."""
    try:
        return target.statistics() if target.statistics else {}
    except MedsegError:
        return {}


def _serial_round(crew: Crew, target: Target, result: Measured, questions: Sequence[Question], plan: Plan) -> None:
    for question in questions:
        timing, answer = ask_within(crew, target, question, plan.timeout_s)
        result.serial.append(timing)
        if answer is None:
            continue
        fingerprint = digest(answer)
        if result.digests.setdefault(question.id, fingerprint) != fingerprint:
            result.problems.append(f"{question.id}: two answers to the same question differ")
        if question.score and question.id not in result.scores:
            result.scores[question.id] = question.score(answer)
            _keep_picture(result, question, answer)


def _keep_picture(result: Measured, question: Question, answer: Tensors) -> None:
    """Draw the answer while it is at hand if it is among the worst so far."""
    if question.picture and result.scores[question.id]:
        metric = next(iter(result.scores[question.id]))
        bottom = worst(result.scores, metric, PICTURES)
        if question.id in bottom:
            result.pictures[question.id] = question.picture(answer)
        result.pictures = {case: result.pictures[case] for case in bottom}


def _levels(crew: Crew, target: Target, questions: Sequence[Question], plan: Plan, loads: Loads) -> Iterator[Level]:
    for concurrency in loads.concurrency:
        yield closed_loop(crew, target, questions, concurrency, plan)
    for rate in loads.rates:
        yield open_loop(crew, target, questions, rate, plan, loads.arrivals)


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
