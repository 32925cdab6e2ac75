"""History: how speed and score of each target went over many benchmarks, as one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medseg.bench.merge import machine_name
from medseg.bench.record import Record, TargetRecord
from medseg.bench.show.cells import Cell, moment, number, time
from medseg.bench.show.html import page_maker
from medseg.bench.show.notes import best_per_s
from medseg.bench.show.plots import MARKERS, SERIES, svg
from medseg.bench.show.terms import terms
from medseg.bench.show.verdict import median_interval
from medseg.bench.stored import read_json
from medseg.errors import InputError
from medseg.files import whole_file

Point = tuple[float, float | None, float | None]  # a value with its 95 % interval
_FEWEST_DAYS = 2
_TICKS = 5


@dataclass(frozen=True)
class Trend:
    """One number of every target over time: its name, its axis' words, and how it is read from a target."""

    title: str
    axis: str
    of: Callable[[TargetRecord], Point | None]


def write_history(paths: Sequence[Path], out: Path) -> Path:
    """Write history.html to a folder; its path. Raises InputError for fewer than two files, or of several tasks."""
    records = sorted((read_json(path) for path in paths), key=lambda one: one["started"])
    if len(records) < _FEWEST_DAYS:
        raise InputError(f"--history got {len(records)} bench.json; expected two or more: one has no history")
    if tasks := sorted({one["task"] for one in records})[1:]:
        raise InputError(
            f"--history got tasks {records[0]['task']!r} and {tasks[0]!r}; expected one: leave the others out"
        )
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / "history.html") as temporary:
        temporary.write_text(history(records))
    return out / "history.html"


def history(records: Sequence[Record]) -> str:
    """The page of these records, the oldest first."""
    main = records[-1]["main"]
    trends = [
        Trend("Median latency", "ms", _latency_ms),
        Trend(main, main, lambda target: _score(target, main)),
        Trend("Best throughput", "answers per second", _throughput),
    ]
    figures = [(one.title, _drawn(records, one)) for one in trends]
    return (
        page_maker()
        .get_template("history.html.j2")
        .render(
            task=records[0]["task"],
            records=records,
            changes=list(_changes(records)),
            terms=terms(records[-1]),
            figures=[(title, Markup(drawing)) for title, drawing in figures if drawing],  # noqa: S704 - ours
            table=_rows(records, main),
        )
    )


def _latency_ms(target: TargetRecord) -> Point | None:
    median_s = target["serial"]["summary"].get("p50_s")
    if median_s is None:
        return None
    low_s, high_s = median_interval(target) or (None, None)
    return 1e3 * median_s, None if low_s is None else 1e3 * low_s, None if high_s is None else 1e3 * high_s


def _score(target: TargetRecord, main: str) -> Point | None:
    mean = target["accuracy"].get(main)
    return (mean["mean"], mean["low"], mean["high"]) if mean else None


def _throughput(target: TargetRecord) -> Point | None:
    rate = best_per_s(target)
    return (rate, None, None) if rate else None


def _drawn(records: Sequence[Record], trend: Trend) -> str | None:
    """A line for each target that has two points or more, in a band of its intervals."""
    lines = {name: points for name, points in _lines(records, trend).items() if len(points) > 1}

    def draw(axes: Any) -> None:
        for place, (name, points) in enumerate(lines.items()):
            days = [day for day, _ in points]
            look = {
                "color": SERIES[place % 8],
                "marker": MARKERS[place % 8],
                "ms": 9 - 2 * min(place, 2),
            }
            axes.plot(days, [point[0] for _, point in points], label=name, **look)
            banded = [(day, low, high) for day, (_, low, high) in points if low is not None and high is not None]
            if banded:
                axes.fill_between(*zip(*banded, strict=True), color=SERIES[place % 8], alpha=0.18, linewidth=0)
        axes.set(ylabel=trend.axis)
        named = _spread([datetime.fromisoformat(record["started"]) for record in records])
        axes.set_xticks(named, [f"{day:%Y-%m-%d}" for day in named], rotation=20, ha="right", fontsize=9.5)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return svg(draw, f"{trend.title} of every target over time", len(lines)) if lines else None


def _spread(days: Sequence[datetime]) -> list[datetime]:
    """A few of the days, the first and the last among them."""
    step = max(1, -(-(len(days) - 1) // (_TICKS - 1)))
    return list(dict.fromkeys([*days[:-1:step], days[-1]]))


def _lines(records: Sequence[Record], trend: Trend) -> dict[str, list[tuple[datetime, Point]]]:
    found: dict[str, list[tuple[datetime, Point]]] = {}
    for record in records:
        for target in record["targets"]:
            if (point := trend.of(target)) is not None:
                found.setdefault(target["name"], []).append((datetime.fromisoformat(record["started"]), point))
    return found


def _changes(records: Sequence[Record]) -> Iterator[str]:
    """What else changed between two benchmarks, so that the code is not blamed for a step in a line."""
    for before, after in pairwise(records):
        if machine_name(before) != machine_name(after):
            yield f"{moment(after['started'])}: another machine, {machine_name(after)}"
        if before["medseg"] != after["medseg"]:
            yield f"{moment(after['started'])}: medseg {after['medseg']}"
        if [case["sha256"] for case in before["cases"]] != [case["sha256"] for case in after["cases"]]:
            yield f"{moment(after['started'])}: other cases, so scores before and after are not comparable"


def _rows(records: Sequence[Record], main: str) -> tuple[list[str], list[list[str | Cell]]]:
    """A row a benchmark and target, the newest first."""
    header = ["started", "target", "p50", main or "score", "best throughput", "medseg"]
    rows: list[list[str | Cell]] = [
        [
            Cell(moment(record["started"]), record["started"]),
            target["name"],
            time(target["serial"]["summary"].get("p50_s")),
            number((_score(target, main) or (None,))[0], "{:.4f}"),
            number(best_per_s(target), "{:.3g}/s"),
            record["medseg"],
        ]
        for record in reversed(records)
        for target in record["targets"]
    ]
    return header, rows
