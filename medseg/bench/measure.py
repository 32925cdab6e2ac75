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
from medseg.bench.target import Question, Statistics, Target, Whole
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
    masks: dict[str, tuple[Array, int]] = field(default_factory=dict)  # of parts of a whole: bits along rows, and width
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False
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


@dataclass(frozen=True)
class _Asking:
    """Who is asked what, how, and where it is written down."""

    target: Target
    questions: Sequence[Question]
    plan: Plan
    say: Say
    result: Measured
    crew: Crew = field(default_factory=Crew)


def measure(target: Target, questions: Sequence[Question], plan: Plan, loads: Loads, say: Say) -> Measured:
    """What a target does; failures are part of the result, and a target that only fails is not asked for more.

    Ctrl-C ends it: the result then holds what was measured so far, and says that it was interrupted.
    """
    result = Measured(target.name, target.facts)
    asking = _Asking(target, questions, plan, say, result)
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
    result.scores = _whole_scores(result, questions) | result.scores
    result.problems += _failures(result)
    return result


def _one_at_a_time(asking: _Asking) -> None:
    """The first answer, the warm-up and the rounds; a first answer that took long is the first of the round."""
    target, questions, plan, result = asking.target, asking.questions, asking.plan, asking.result
    asking.say(f"{target.name}: warming up")
    cold = _statistics(target)
    result.first, answer = ask_within(asking.crew, target, questions[0], plan.timeout_s)
    long = plan.long_s is not None and result.first.error is None and result.first.latency_s > plan.long_s
    for question in islice(cycle(questions), 0 if long else plan.warmup):
        ask_within(asking.crew, target, question, plan.timeout_s)
    before = cold if long else _statistics(target)
    if long:
        _keep(asking, questions[0], result.first, answer)
    try:
        _rounds(asking, 1 if long else 0)
    finally:
        answered = sum(timing.error is None for timing in result.serial)
        after = _statistics(target)
        result.server = spent(before, after, answered) if before and after and answered else {}


def _rounds(asking: _Asking, asked: int) -> None:
    """Every question in every round, but for those of the first round that were asked already."""
    plan, questions = asking.plan, asking.questions
    rounds = max(plan.rounds, -(-plan.requests // len(questions)))
    for turn in range(rounds):
        asking.say(f"{asking.target.name}: round {turn + 1} of {rounds} over {len(questions)} cases")
        for question in questions[0 if turn else asked :]:
            _keep(asking, question, *ask_within(asking.crew, asking.target, question, plan.timeout_s))


def _statistics(target: Target) -> Statistics:
    """The server's statistics; none where there is no server, or where it no longer answers."""
    try:
        return target.statistics() if target.statistics else {}
    except MedsegError:
        return {}


def _keep(asking: _Asking, question: Question, timing: Timing, answer: Tensors | None) -> None:
    """Write down a request's times, and what its answer is worth."""
    result = asking.result
    result.serial.append(timing)
    if answer is None:
        return
    fingerprint = digest(answer)
    if result.digests.setdefault(question.id, fingerprint) != fingerprint:
        result.problems.append(f"{question.id}: two answers to the same question differ")
    if question.score and question.id not in result.scores:
        result.scores[question.id] = question.score(answer)
        _keep_picture(result, question, answer)
        if question.whole:
            result.masks[question.id] = np.packbits(answer["mask"], axis=-1), answer["mask"].shape[-1]


def _whole_scores(result: Measured, questions: Sequence[Question]) -> dict[str, Mapping[str, float]]:
    """The scores of every whole whose parts were asked, over the parts that were answered."""
    parts: dict[Whole, dict[str, Array]] = {}
    for question in questions:
        if question.whole and question.id in result.masks:
            bits, width = result.masks[question.id]
            parts.setdefault(question.whole, {})[question.id] = np.unpackbits(bits, axis=-1, count=width)
    return {whole.id: whole.score(masks) for whole, masks in parts.items()}


def _keep_picture(result: Measured, question: Question, answer: Tensors) -> None:
    """Draw the answer while it is at hand if it is among the worst so far."""
    if question.picture and result.scores[question.id]:
        metric = next(iter(result.scores[question.id]))
        bottom = worst(result.scores, metric, PICTURES)
        if question.id in bottom:
            result.pictures[question.id] = question.picture(answer)
        result.pictures = {case: result.pictures[case] for case in bottom}


def _levels(asking: _Asking, loads: Loads) -> Iterator[Level]:
    whom = asking.crew, asking.target, asking.questions
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
