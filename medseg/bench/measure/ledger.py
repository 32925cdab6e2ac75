"""Ledger: where the time of a request goes, stage by stage, summing to the whole; and what to speed up next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from medseg.bench.measure.load import Timing
from medseg.bench.record import LedgerRow

LEAST = 0.001  # share of the time; a row with less is not informative


@dataclass(frozen=True)
class Row:
    """One stage of the ledger."""

    stage: str
    seconds: float
    share: float  # of the whole, 0 to 1
    items: float | None = None  # what a network was given within one request: slices, candidates


@dataclass(frozen=True)
class Ledger:
    """The rows in the order in which the stages run, and the measured median they explain."""

    rows: tuple[Row, ...]
    median_s: float

    @property
    def total_s(self) -> float:
        """Seconds in all rows together."""
        return sum(row.seconds for row in self.rows)


def ledger(timings: Sequence[Timing]) -> Ledger | None:
    """The ledger of the middle fifth of the requests by latency, None where none succeeded.

    The middle fifth is used because its mean is close to the median and, unlike medians, the means of stages add up.
    """
    good = sorted((timing for timing in timings if timing.error is None), key=lambda timing: timing.latency_s)
    if not good:
        return None
    cut = min(2 * len(good) // 5, (len(good) - 1) // 2)
    middle = good[cut : len(good) - cut]
    stages = dict.fromkeys(stage for timing in middle for stage in timing.stages)
    seconds = {stage: fmean(timing.stages.get(stage, 0.0) for timing in middle) for stage in stages}
    given = {stage for timing in middle for stage in timing.items}
    items = {stage: fmean(timing.items.get(stage, 0) for timing in middle) for stage in given}
    return Ledger(rows(seconds, items), median(timing.latency_s for timing in good))


def rows(seconds: Mapping[str, float], items: Mapping[str, float]) -> tuple[Row, ...]:
    """Rows with their shares of the whole."""
    total_s = sum(seconds.values()) or 1.0
    return tuple(Row(stage, value, value / total_s, items.get(stage)) for stage, value in seconds.items())


def shown(rows: Sequence[LedgerRow]) -> tuple[list[LedgerRow], str]:
    """A recorded ledger's rows that take time, and a sentence about those that take almost none."""
    large = [row for row in rows if row["share"] >= LEAST]
    small = [row for row in rows if row["share"] < LEAST]
    if not small:
        return large, ""
    names, together = ", ".join(row["stage"] for row in small), sum(row["share"] for row in small)
    return large, f"Below {LEAST:.1%} each and not listed: {names}; together {together:.2%}."


def amdahl(book: Ledger) -> str:
    """One sentence: the stage whose speed-up would help most, and the most that it could bring."""
    top = max(book.rows, key=lambda row: row.share)
    twice, free = 1 / (1 - top.share / 2), 1 / max(1 - top.share, 1e-3)
    return (
        f"Next to speed up: {top.stage}, {top.share:.0%} of the time. If it were twice as fast, the whole would be "
        f"{twice:.2f} "
        f"times as fast; if it took no time at all, {free:.3g} times."
    )
