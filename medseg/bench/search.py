"""Search: the best way to serve a task within limits, found by successive halving over the possible ways."""

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
SHORT = Plan(warmup=0, rounds=0, requests=0, window_s=0.75, limit_s=1.5)  # the first round; each next: twice as long
LONG = Plan(rounds=1, requests=1)  # the last round: under load as in a report, and each case once alone for the score
FULL = "fp32"  # the precision to whose score all others are held
LAST = 2  # how many ways the last round measures
NEAR = 1.1  # a file slower than this many times the fastest file's time, alone in this process, is left out

Ask = Callable[[Sequence[Entry], Plan, Loads], Record]  # measures entries as a report does


@dataclass(frozen=True)
class Limits:
    """The limits of a way to serve; None: no limit."""

    p95_s: float | None = None  # of a request, at the load of the search
    memory_mib: float | None = None  # of the server
    drop: float = 0.01  # the share of fp32's score that may be lost


@dataclass(frozen=True)
class Load:
    """The load of a search: requests at the same time, the engines to try, and the timeout of an answer."""

    at_once: int = 4
    engines: Sequence[str] = (CPU_DEFAULT,)
    timeout_s: float = 120.0


@dataclass(frozen=True)
class Way:
    """A way to serve, with its latest measurement."""

    entry: Entry
    per_s: float  # answers a second
    p95_s: float
    memory_mib: float
    score: float | None
    whole: bool = False  # whether it was measured as long as in a report, not only briefly
    beyond: tuple[str, ...] = ()  # the limits that it exceeds, in words
    excess: float = 0.0  # by how much it exceeds the worst of these, as a share of the limit


@dataclass(frozen=True)
class Searched:
    """The best way within the limits, all ways that were tried (the best first), and what was left out and why."""

    best: Way | None
    ways: Sequence[Way] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def front(self) -> list[Way]:
        """The Pareto front in speed, p95, memory and score: the ways within the limits that no other one dominates."""
        held = [way for way in self.ways if not way.beyond]
        return [way for way in held if not any(_dominates(other, way) for other in held)]


def search(
    ask: Ask, files: Sequence[Entry], ways: Callable[[Entry], Iterable[Entry]], limits: Limits, load: int
) -> Searched:
    """The ways to serve `files`, measured in rounds with `load` requests at the same time.

    `files` are engines and precisions in this process, fp32 first. They are measured with one request at a time. Files
    that lose too much score, or are much slower than the fastest, are left out. `ways` gives the ways to serve each
    remaining file. A short measurement keeps the better half of them, a measurement of twice that time the better half
    of these, and so on. The last LAST ways are measured under load as in a report. Raises InputError if no file can be
    searched.
    """
    record = ask(files, ALONE, Loads())
    scores = {_file(entry): _score(record, target) for entry, target in zip(files, record["targets"], strict=True)}
    book = _Book(limits, scores, _unfit(files, record, limits))
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
    """The results of the rounds so far."""

    limits: Limits
    scores: Mapping[tuple[str, str], float | None]  # of each file; a short round measures no score
    left_out: dict[str, str]
    ways: dict[Entry, Way] = field(default_factory=dict)

    def enter(self, entries: Sequence[Entry], record: Record | None, whole: bool = False) -> None:
        """Add a round: each entry becomes a way, or is left out for a reason."""
        for entry, target in zip(entries, record["targets"] if record else (), strict=True):
            if record is None or target["problems"] or not target["levels"]:
                self.left_out[entry.name] = "; ".join(target["problems"]) or "it was not measured"
                self.ways.pop(entry, None)
            else:
                score = _score(record, target) if whole else self.scores[_file(entry)]
                self.ways[entry] = replace(_way(entry, target, score, self.limits), whole=whole)

    def ordered(self) -> list[Way]:
        """The best way first; ways of the last round come before all others."""
        return sorted(self.ways.values(), key=lambda way: (not way.whole, way.excess, -way.per_s))


def _dominates(one: Way, other: Way) -> bool:
    """Whether one way is as good as the other in everything, and better in something."""
    ours, theirs = _qualities(one), _qualities(other)
    return all(a >= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def _qualities(way: Way) -> tuple[float, ...]:
    return way.per_s, -way.p95_s, -way.memory_mib, way.score or 0.0


def _file(entry: Entry) -> tuple[str, str]:
    return entry.engine, entry.precision


def _score(record: Record, target: TargetRecord) -> float | None:
    mean = target["accuracy"].get(record["main"])
    return mean["mean"] if mean else None


def _unfit(files: Sequence[Entry], record: Record, limits: Limits) -> dict[str, str]:
    """The files that are not tried on a server, by name, and why."""
    unfit, good = {}, dict[str, TargetRecord]()
    losses = _losses(files, record, limits)
    for one in record["targets"]:
        if reason := "; ".join(one["problems"]) or losses.get(one["name"], ""):
            unfit[one["name"]] = reason
        else:
            good[one["name"]] = one
    times = {name: one["serial"]["summary"]["p50_s"] for name, one in good.items()}
    least = min(times.values(), default=0.0)
    slow = {name: time_s for name, time_s in times.items() if time_s > NEAR * least}
    return unfit | {
        name: f"alone it takes {time_s / least:.1f} times the fastest's time" for name, time_s in slow.items()
    }


def _losses(files: Sequence[Entry], record: Record, limits: Limits) -> dict[str, str]:
    """What is said of each file that loses too much score, or may; none where the data has no truth."""
    main = record["main"]
    scores = {one["name"]: None if one["problems"] else _score(record, one) for one in record["targets"]}
    known = [score for score in scores.values() if score is not None]
    full = max((scores[one.name] or 0.0 for one in files if one.precision == FULL), default=0.0)
    if not known or limits.drop >= 1:
        return {}
    if not full:
        return dict.fromkeys(scores, f"its {main} cannot be held to fp32's, which is not known or 0")
    lost = {name: 0.0 if score is None else score / full for name, score in scores.items()}
    return {name: f"its {main} is {share:.1%} of fp32's" for name, share in lost.items() if share < 1 - limits.drop}


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
    """By what share a value exceeds its bound (negative below it); 0 without a bound."""
    return 0.0 if bound is None else value / bound - 1
