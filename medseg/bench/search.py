"""Search: how a task is served best within limits, by successive halving over the ways to serve it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf

from medseg.bench.lineup import Entry
from medseg.bench.measure.load import QUICK, Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.record import Record, TargetRecord
from medseg.engines import CPU_DEFAULT
from medseg.errors import InputError

ALONE = replace(QUICK, requests=2)
SHORT = Plan(warmup=0, rounds=0, requests=0, window_s=0.75, limit_s=1.5)  # the first round's; each next has twice that
LONG = Plan(rounds=1, requests=1)  # the last round's: under load as a report's, one at a time once, for the score
LAST = 2  # ways that the last round measures
NEAR = 1.1  # what takes so many times the fastest one's time, alone in this process, is not served

Ask = Callable[[Sequence[Entry], Plan, Loads], Record]  # the report's own measurement


@dataclass(frozen=True)
class Limits:
    """What a way to serve must hold; None: whatever it is."""

    p95_s: float | None = None  # of a request, at the load that is searched for
    memory_mib: float | None = None  # of the server
    drop: float = 0.01  # so much of fp32's score may be lost, as a share


@dataclass(frozen=True)
class Load:
    """How everything is asked: so many requests at once, of each of these engines, and how long an answer may take."""

    at_once: int = 4
    engines: Sequence[str] = (CPU_DEFAULT,)
    timeout_s: float = 120.0


@dataclass(frozen=True)
class Way:
    """A way to serve, as it was measured last."""

    entry: Entry
    per_s: float  # answers a second
    p95_s: float
    memory_mib: float
    score: float | None
    whole: bool = False  # measured as long as a report does, not for a moment
    beyond: tuple[str, ...] = ()  # limits that it does not hold, in words
    excess: float = 0.0  # how many times the worst of those is reached, less one


@dataclass(frozen=True)
class Searched:
    """The best way there is within the limits, all that was tried, the best first, and what was left out, and why."""

    best: Way | None
    ways: Sequence[Way] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def front(self) -> list[Way]:
        """The ways within the limits than which no other is better in speed, p95, memory and score alike."""
        held = [way for way in self.ways if not way.beyond]
        return [way for way in held if not any(_dominates(other, way) for other in held)]


def search(
    ask: Ask, files: Sequence[Entry], ways: Callable[[Entry], Iterable[Entry]], limits: Limits, load: int
) -> Searched:
    """The ways to serve `files`, narrowed down round by round at so many requests at once.

    `files` are engines and precisions in this process, fp32 first: they are asked one request at a time, and what loses
    too much score or is much slower than the fastest is left out. `ways` are those of each that is left, on a server.
    Of these a short measurement keeps the better half, one of twice the time the better half of those, and so on; the
    last are measured under load as a report does. Raises InputError where no file can be measured.
    """
    record = ask(files, ALONE, Loads())
    scores = {_file(entry): _score(record, target) for entry, target in zip(files, record["targets"], strict=True)}
    book = _Book(limits, scores, _unfit(record, limits))
    entries = [way for entry in files if entry.name not in book.left_out for way in ways(entry)]
    if not entries:
        reasons = "; ".join(f"{name}: {why}" for name, why in book.left_out.items())
        raise InputError(f"no file of the runs can be searched among ({reasons}): export them again")
    plan = SHORT
    while len(entries) > LAST:
        book.enter(entries, ask(entries, plan, Loads((load,))))
        good = [way.entry for way in book.ordered() if way.entry in entries]
        entries = good[: max(LAST, ceil(len(good) / 2))]
        plan = replace(plan, window_s=2 * plan.window_s, limit_s=2 * plan.limit_s)
    book.enter(entries, ask(entries, LONG, Loads((load,))) if entries else None, whole=True)
    ordered = book.ordered()
    best = next((way for way in ordered if way.whole and not way.beyond), None)
    return Searched(best, ordered, book.left_out)


@dataclass
class _Book:
    """What the rounds have found so far."""

    limits: Limits
    scores: Mapping[tuple[str, str], float | None]  # of each file: a short round takes none
    left_out: dict[str, str]
    ways: dict[Entry, Way] = field(default_factory=dict)

    def enter(self, entries: Sequence[Entry], record: Record | None, whole: bool = False) -> None:
        """Write down a round: of each entry a way, or why it is left out."""
        for entry, target in zip(entries, record["targets"] if record else (), strict=True):
            if record is None or target["problems"] or not target["levels"]:
                self.left_out[entry.name] = "; ".join(target["problems"]) or "it was not measured"
                self.ways.pop(entry, None)
            else:
                score = _score(record, target) if whole else self.scores[_file(entry)]
                self.ways[entry] = replace(_way(entry, target, score, self.limits), whole=whole)

    def ordered(self) -> list[Way]:
        """The best first; what was measured whole comes before what was not."""
        return sorted(self.ways.values(), key=lambda way: (not way.whole, way.excess, -way.per_s))


def _dominates(one: Way, other: Way) -> bool:
    """Whether it is as good in everything, and better in something."""
    ours, theirs = _qualities(one), _qualities(other)
    return all(a >= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def _qualities(way: Way) -> tuple[float, ...]:
    return way.per_s, -way.p95_s, -way.memory_mib, way.score or 0.0


def _file(entry: Entry) -> tuple[str, str]:
    return entry.engine, entry.precision


def _score(record: Record, target: TargetRecord) -> float | None:
    mean = target["accuracy"].get(record["main"])
    return mean["mean"] if mean else None


def _unfit(record: Record, limits: Limits) -> dict[str, str]:
    """The files that are not worth a server, by name, and why."""
    targets = record["targets"]
    unfit = {one["name"]: "; ".join(one["problems"]) for one in targets if one["problems"]}
    full = _score(record, targets[0])
    for one in targets:
        score = _score(record, one)
        if one["name"] not in unfit and full and score is not None and score < (1 - limits.drop) * full:
            unfit[one["name"]] = f"its {record['main']} is {score / full:.1%} of fp32's"
    times = {one["name"]: one["serial"]["summary"]["p50_s"] for one in targets if one["name"] not in unfit}
    least = min(times.values(), default=0.0)
    slow = {name: time_s for name, time_s in times.items() if time_s > NEAR * least}
    return unfit | {
        name: f"alone it takes {time_s / least:.1f} times the fastest's time" for name, time_s in slow.items()
    }


def _way(entry: Entry, target: TargetRecord, score: float | None, limits: Limits) -> Way:
    level, usage = target["levels"][-1], target["usage"]
    p95_s, memory_mib = level["summary"].get("p95_s", inf), usage["peak_server_mib"] if usage else 0.0
    over = {
        f"p95 is {p95_s:.3g} s, at most {limits.p95_s} s is due": _excess(p95_s, limits.p95_s),
        f"memory is {memory_mib:.0f} MiB, at most {limits.memory_mib} MiB is due": _excess(
            memory_mib, limits.memory_mib
        ),
    }
    beyond = tuple(words for words, times in over.items() if times > 0)
    return Way(entry, level["per_s"], p95_s, memory_mib, score, beyond=beyond, excess=max(0.0, *over.values()))


def _excess(value: float, bound: float | None) -> float:
    """How many times the bound is reached, less one; 0 where there is none."""
    return 0.0 if bound is None else value / bound - 1
