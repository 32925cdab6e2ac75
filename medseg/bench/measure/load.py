"""Load: many cases at once, closed loop (N clients) or open loop (arrivals that slow answers do not delay)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, count, cycle
from queue import Empty, SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from time import perf_counter, sleep
from typing import TypeVar

from medseg.bench.measure.clock import Clock, fan_out, shares
from medseg.bench.measure.target import BenchTarget
from medseg.task import Tensors, Unread

IN_FLIGHT = 512  # requests of one open loop; a request beyond this number counts as an error, it is not dropped
TIMEOUT = "timeout"
ARRIVALS = ("poisson", "constant")
_TICK_S = 0.02

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How long and how hard to measure; times in seconds."""

    warmup: int = 2  # requests whose times are not reported
    rounds: int = 3  # times each case is asked, one at a time, for the ledger and the score
    requests: int = 24  # at least this many requests; with few cases there are more rounds, because a p95 needs 20
    enough_s: float = 60.0  # but no further round after this many seconds
    window_s: float = 3.0
    limit_s: float = 30.0  # for one level of load
    stable: float = 0.1  # three windows whose rates and medians lie this close end a level
    timeout_s: float = 60.0
    long_s: float | None = None  # a first answer that took longer than this is not asked for again in the first round


QUICK = Plan(warmup=0, rounds=1, requests=1, window_s=1.0, limit_s=6.0, long_s=2.0)


@dataclass(frozen=True)
class Timing:
    """One request: seconds since its level began, where they went, and what went wrong."""

    case: str
    intended_s: float  # when it was due: waiting to be sent is part of its latency
    sent_s: float
    done_s: float
    stages: dict[str, float] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)  # a network's inputs within the request
    error: str | None = None
    client_s: float = 0.0  # CPU time of the client itself

    @property
    def latency_s(self) -> float:
        """Seconds from the moment the request was due."""
        return self.done_s - self.intended_s


Asked = tuple[Timing, Tensors | None]


@dataclass(frozen=True)
class Window:
    """A stretch of a level: what was finished in it."""

    start_s: float
    end_s: float
    answered: int
    failed: int
    median_s: float | None

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answered / (self.end_s - self.start_s)


@dataclass(frozen=True)
class Level:
    """All requests of one concurrency or one rate."""

    mode: str  # closed, poisson, constant
    load: float  # clients, or requests per second
    timings: list[Timing]
    windows: list[Window]
    stable: bool


class Crew:
    """Threads that do jobs, as many as there are jobs at once. A thread stays, and so does what its clients keep open.

    They are daemons, unlike an executor's threads: a server that never answers must not keep the program from ending.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._idle = Semaphore(0)

    def do(self, job: Callable[[], object]) -> None:
        """Start a job at once, on an idle thread or a new one."""
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False):
            Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            self._idle.release()


class _Log:
    """The requests of one level, begun and finished."""

    def __init__(self) -> None:
        self.start_s = perf_counter()
        self.timings: list[Timing] = []
        self.open: dict[int, tuple[str, float, float]] = {}
        self._lock = Lock()
        self._tickets = count()

    def now(self) -> float:
        return perf_counter() - self.start_s

    def begin(self, case: str, intended_s: float, sent_s: float) -> int:
        with self._lock:
            ticket = next(self._tickets)
            self.open[ticket] = (case, intended_s, sent_s)
        return ticket

    def finish(self, ticket: int, timing: Timing) -> None:
        with self._lock:
            if self.open.pop(ticket, None):
                self.timings.append(timing)

    def refuse(self, case: str, intended_s: float, why: str) -> None:
        self.timings.append(Timing(case, intended_s, self.now(), self.now(), error=why))

    def expire(self, age_s: float) -> None:
        """Count requests sent longer ago than this without an answer as timeouts; a late answer changes nothing."""
        with self._lock:
            old = {ticket: entry for ticket, entry in self.open.items() if self.now() - entry[2] >= age_s}
            for ticket, (case, intended_s, sent_s) in old.items():
                self.timings.append(Timing(case, intended_s, sent_s, self.now(), error=TIMEOUT))
                del self.open[ticket]


def _ask(target: BenchTarget, case: Unread, log: _Log, intended_s: float | None = None) -> Asked:
    """The timing of one request and its answer, None where it failed; nothing is raised."""
    clock, sent_s, answer, error = Clock(), log.now(), None, None
    due_s = sent_s if intended_s is None else intended_s
    ticket = log.begin(case.id, due_s, sent_s)
    try:
        answer = target.answer(case, clock)
    except Exception as problem:  # any failure of a target is a result of the measurement
        error = f"{type(problem).__name__}: {problem}".splitlines()[0]
    done_s = log.now()
    stages = shares(clock.spans, log.start_s + sent_s, log.start_s + done_s)
    timing = Timing(case.id, due_s, sent_s, done_s, stages, fan_out(clock.spans), error, clock.client_s)
    log.finish(ticket, timing)
    return timing, answer


def ask_within(crew: Crew, target: BenchTarget, case: Unread, timeout_s: float) -> Asked:
    """One request and its answer, None where it failed or took too long; nothing is raised, and the wait has an end."""
    log = _Log()
    asked = within(crew, lambda: _ask(target, case, log), timeout_s)
    if asked:
        return asked
    log.expire(0.0)
    return log.timings[0], None


def within(crew: Crew, call: Callable[[], T], timeout_s: float) -> T | None:
    """What a call that raises nothing returns, None where it takes too long: the wait has an end, the call may not."""
    answers = SimpleQueue[T]()
    crew.do(lambda: answers.put(call()))
    try:
        return answers.get(timeout=timeout_s)
    except Empty:
        return None


def closed_loop(crew: Crew, target: BenchTarget, cases: Sequence[Unread], concurrency: int, plan: Plan) -> Level:
    """A level with this many clients, each sending its next request as soon as it has an answer."""
    log, stop, turn, order = _Log(), Event(), Lock(), cycle(cases)

    def asker() -> None:
        while not stop.is_set():
            with turn:
                case = next(order)
            _ask(target, case, log)

    for _ in range(concurrency):
        crew.do(asker)
    windows, stable = _windows(log, plan, at_least=concurrency)
    stop.set()
    _drain(log, plan.timeout_s)
    return Level("closed", concurrency, log.timings, windows, stable)


def open_loop(
    crew: Crew, target: BenchTarget, cases: Sequence[Unread], rate: float, plan: Plan, arrivals: str = "poisson"
) -> Level:
    """A level with arrivals at a rate per second, Poisson or constant, sent when due even if earlier ones wait.

    Latency counts from the moment a request was due, so a stall counts for every request that was due during it.
    """
    log, stop = _Log(), Event()

    def send() -> None:
        for due_s, case in zip(_due(rate, arrivals), cycle(cases), strict=False):
            if stop.wait(max(0.0, due_s - log.now())):
                return
            if len(log.open) < IN_FLIGHT:
                crew.do(partial(_ask, target, case, log, due_s))
            else:
                log.refuse(case.id, due_s, f"not sent: {IN_FLIGHT} requests were already in flight")

    crew.do(send)
    windows, stable = _windows(log, plan, at_least=1)
    stop.set()
    _drain(log, plan.timeout_s)
    return Level(arrivals, rate, log.timings, windows, stable)


def _due(rate: float, arrivals: str) -> Iterator[float]:
    gaps = random.Random(0)  # noqa: S311 - arrival times, not secrets; the same in every run
    return accumulate(gaps.expovariate(rate) if arrivals == "poisson" else 1 / rate for _ in count())


def _windows(log: _Log, plan: Plan, at_least: int) -> tuple[list[Window], bool]:
    """Windows until three agree, or the time is up, or nothing but errors comes back."""
    windows: list[Window] = []
    while log.now() < plan.limit_s:
        windows.append(_window(log, plan, at_least))
        if agree(windows[-3:], plan.stable):
            return windows, True
        if windows[-1].failed and not windows[-1].answered:
            break
    return windows, False


def _window(log: _Log, plan: Plan, at_least: int) -> Window:
    start_s, seen = log.now(), len(log.timings)
    while log.now() < plan.limit_s:
        sleep(min(_TICK_S, plan.window_s / 10))
        log.expire(plan.timeout_s)
        if log.now() - start_s >= plan.window_s and len(log.timings) - seen >= at_least:
            break
    finished = log.timings[seen:]
    latencies = sorted(timing.latency_s for timing in finished if timing.error is None)
    failed = sum(timing.error is not None for timing in finished)
    return Window(start_s, log.now(), len(latencies), failed, latencies[len(latencies) // 2] if latencies else None)


def agree(windows: Sequence[Window], tolerance: float) -> bool:
    """Whether there are three windows whose rates, and whose medians, lie this share apart at most."""
    if len(windows) < 3 or any(window.median_s is None for window in windows):
        return False
    rates, medians = [window.per_s for window in windows], [window.median_s or 0.0 for window in windows]
    return all(max(values) - min(values) <= tolerance * max(values) for values in (rates, medians))


def _drain(log: _Log, timeout_s: float) -> None:
    while log.open:
        sleep(0.01)
        log.expire(timeout_s)
