"""A cohort's figures, from its ledger only: counts, hours, rates, cost, stages, workers, slow and failed cases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from medseg.bench.show.cells import Cell, number, time
from medseg.bench.show.tables import Table
from medseg.cohort.case import DONE, FAILED
from medseg.cohort.ledger import Entry, Ledger

MOST = 200  # failed cases or workers that a report lists; the ledger has all
_SLOWEST = 10
_SPANS = 40  # bins in the drawing of the rate


def spans(ledger: Ledger) -> list[tuple[float, float]]:
    """Begin and end of each call in seconds since 1970; a killed call ended with its last case."""
    ats = np.sort([entry.at for entry in ledger.entries.values() if entry.at])
    begins = [float(one["began"]) for one in ledger.sessions]
    found = []
    for place, one in enumerate(ledger.sessions):
        until = begins[place + 1] if place + 1 < len(begins) else np.inf
        its = ats[(ats >= begins[place]) & (ats < until)]
        found.append((begins[place], float(one.get("ended", its[-1] if len(its) else begins[place]))))
    return found


def wall_s(ledger: Ledger) -> float:
    """Seconds in which at least one call worked; the calls of shards may overlap."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(spans(ledger)):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def cost(ledger: Ledger) -> float | None:
    """The cost of all calls by their --price-per-hour; None if one call has no price."""
    prices = [float(one["price_per_hour"]) for one in ledger.sessions if "price_per_hour" in one]
    if not prices or len(prices) < len(ledger.sessions):
        return None
    hours = [(end - begin) / 3600 for begin, end in spans(ledger)]
    return sum(price * worked for price, worked in zip(prices, hours, strict=True))


def overview(ledger: Ledger) -> Table:
    """Counts, working time, the rate, and the cost of 1,000 cases."""
    counts = Counter(entry.status for entry in ledger.entries.values())
    wall, paid, done = wall_s(ledger), cost(ledger), counts[DONE]
    read = sum(float(entry.read.get("bytes", 0)) for entry in ledger.entries.values())
    row = [
        number(len(ledger.entries), "{:.0f}"),
        number(done, "{:.0f}"),
        Cell(str(counts[FAILED]), bad=counts[FAILED] > 0),
        number(counts.total() - done - counts[FAILED], "{:.0f}"),
        number(wall / 3600, "{:.2f} h"),
        number(3600 * done / wall if wall else None, "{:.0f}"),
        number(read / 2**30, "{:.2f} GiB"),
        number(1000 * paid / done if paid is not None and done else None, "{:.2f}"),
    ]
    header = ["cases", "done", "failed", "skipped", "worked", "done an hour", "read", "cost of 1,000"]
    return header, [list(row)]


def stages(ledger: Ledger) -> Table:
    """Seconds by stage, over the finished cases."""
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for entry in _done(ledger):
        for stage, seconds in entry.seconds.items():
            taken[stage].append(seconds)
    return ["stage", "median", "p95", "largest", "in all"], [
        [stage, time(float(np.median(all_))), time(float(np.quantile(all_, 0.95))), time(max(all_)), time(sum(all_))]
        for stage, all_ in taken.items()
    ]


def workers(ledger: Ledger) -> Table:
    """Each worker's cases and working time; at most MOST workers."""
    entries = [entry for entry in ledger.entries.values() if entry.worker]
    done, failed, busy = Counter[str](), Counter[str](), defaultdict[str, float](float)
    for entry in entries:
        (done if entry.status == DONE else failed)[entry.worker] += 1
        busy[entry.worker] += sum(entry.seconds.values())
    names = sorted(busy, key=lambda name: -busy[name])[:MOST]
    return ["worker", "done", "failed", "seconds of all stages"], [
        [name, number(done[name], "{:.0f}"), number(failed[name], "{:.0f}"), time(busy[name])] for name in names
    ]


def slowest(ledger: Ledger) -> Table:
    """The cases that took longest over all stages."""
    found = sorted(_done(ledger), key=lambda entry: -sum(entry.seconds.values()))[:_SLOWEST]
    names = list(dict.fromkeys(stage for entry in found for stage in entry.seconds))
    return ["case", *names, "attempts"], [
        [entry.case, *(time(entry.seconds.get(name)) for name in names), number(entry.attempts, "{:.0f}")]
        for entry in found
    ]


def failed(ledger: Ledger) -> Table:
    """The failed cases with their errors."""
    found = [entry for entry in ledger.entries.values() if entry.status == FAILED]
    return ["case", "error", "attempts", "worker"], [
        [entry.case, entry.error, number(entry.attempts, "{:.0f}"), entry.worker] for entry in found[:MOST]
    ]


def calls(ledger: Ledger) -> Table:
    """Each call that worked on the cohort."""
    rows = zip(ledger.sessions, spans(ledger), strict=True)
    return ["begun", "worked", "host", "workers", "how it ended"], [
        [when(begin), time(end - begin), str(one.get("host", "")), _where(one), "done" if "ended" in one else "stopped"]
        for one, (begin, end) in rows
    ]


def when(seconds: float) -> str:
    """A time as text, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def rate(ledger: Ledger) -> tuple[list[float], list[float]]:
    """Cases per hour over time, for a drawing: the middle of each bin in hours since the first call, and the rate."""
    ats = sorted(entry.at for entry in _done(ledger))
    if len(ats) < 2 or ats[0] == ats[-1]:
        return [], []
    counts, edges = np.histogram(ats, bins=min(_SPANS, len(ats)))
    width_h = (edges[1] - edges[0]) / 3600
    begin = min((begin for begin, _ in spans(ledger)), default=ats[0])
    return (((edges[:-1] + edges[1:]) / 2 - begin) / 3600).tolist(), (counts / width_h).tolist()


def _where(session: Mapping[str, Any]) -> str:
    words = [str(session.get("address", "local"))]
    words += [f"{session[name]} {name}" for name in ("workers", "gpus") if session.get(name)]
    return ", ".join(words)


def _done(ledger: Ledger) -> Sequence[Entry]:
    return list(_of(ledger, DONE))


def _of(ledger: Ledger, status: str) -> Iterator[Entry]:
    return (entry for entry in ledger.entries.values() if entry.status == status)
