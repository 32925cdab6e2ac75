"""Cells: numbers in a readable form, sorted by their value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medseg.bench.record import MeanRecord


@dataclass(frozen=True)
class Cell:
    """A cell's text, and in HTML what it is sorted by (None: its text; empty: nothing, last) and how it looks."""

    text: str
    key: str | None = None
    soft: str = ""  # behind the text, in small print
    bad: bool = False

    def __str__(self) -> str:
        return self.text


def number(value: float | None, form: str, soft: str = "") -> Cell:
    """A number in a format such as "{:.4f}", sorted by its value."""
    return Cell("-", "") if value is None else Cell(form.format(value), repr(float(value)), soft)


def time(value_s: float | None) -> Cell:
    """A time in its most readable unit, sorted by its seconds."""
    return number(value_s, seconds(value_s))


def seconds(value: float | None) -> str:
    """A time in its most readable unit."""
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-4 or value == 0 else f"{value * 1e6:.2g} µs"


def moment(started: str) -> str:
    """A record's start in a readable form: 2026-11-27 18:00 UTC."""
    zone = " UTC" if started.endswith("+00:00") else started[19:]
    return started[:16].replace("T", " ") + zone


def interval(entry: MeanRecord, digits: int) -> Cell:
    """An interval's two ends, sorted by the lower one."""
    if entry["low"] is None or entry["high"] is None:
        return Cell("one case", "")
    low, high = (signed(end, digits) for end in (entry["low"], entry["high"]))
    return Cell(f"{low} to {high}", low.key)


def signed(change: float, digits: int = 4) -> Cell:
    """A change; one that rounds to nothing is +0.0000, never -0.0000."""
    return number(round(change, digits) + 0.0, f"{{:+.{digits}f}}")


def percent(change: float) -> Cell:
    """A relative change; one that rounds to nothing is +0.0%, never -0.0%."""
    return Cell(f"{round(change, 3) + 0.0:+.1%}", repr(change))


def worded(rows: Sequence[Sequence[object]]) -> list[bool]:
    """Which columns hold words, which stand on the left; numbers stand on the right."""
    return [
        any(not isinstance(cell, Cell) and str(cell)[:1].isalpha() for cell in column)
        for column in zip(*rows, strict=True)
    ]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; words to the left, numbers to the right."""
    rows = [list(row) for row in rows]
    words = worded(rows) or [True] * len(header)
    lines = [header, ["---" if one or not place else "---:" for place, one in enumerate(words)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
