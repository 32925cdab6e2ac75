"""One target's part of bench.json, from everything that was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import cast

import numpy as np

from medseg.bench.measure.ledger import Ledger, amdahl, ledger
from medseg.bench.measure.load import Level, Timing
from medseg.bench.measure.rounds import Measured
from medseg.bench.measure.served import fan_out, opened_up, server_stages, stage_items
from medseg.bench.measure.target import SERVER
from medseg.bench.record import (
    PERCENTILES,
    Columns,
    Facts,
    LedgerRecord,
    LedgerRow,
    LevelRecord,
    MeanRecord,
    Summary,
    TargetRecord,
    TimingRecord,
    WindowRecord,
)
from medseg.task import Task


def target_record(measured: Measured, task: Task | None, inside: Mapping[str, Iterable[str]]) -> TargetRecord:
    """One target's part of bench.json; `inside` names the networks that each step calls."""
    book = _ledger(measured, task, inside)
    return {
        "name": measured.name,
        "facts": dict(measured.facts),
        "first_s": measured.first.latency_s if measured.first else None,
        "serial": {
            "summary": latencies(measured.serial),
            "timings": [cast(TimingRecord, asdict(timing)) for timing in measured.serial],
        },
        "ledger": _ledger_record(book) if book else None,
        "fan_out": fan_out(measured.server, [network.name for network in task.networks]) if task else {},
        "round_trip_s": measured.round_trip_s,
        "client_s": _client_s(measured),
        "levels": [_level_record(level) for level in measured.levels],
        "scores": {row: dict(scores) for row, scores in measured.scored.rows.items()},
        "accuracy": {name: cast(MeanRecord, asdict(mean)) for name, mean in measured.scored.means.items()},
        "counts": dict(measured.scored.counts),
        "paired": {},
        "answers": measured.digests,
        "problems": measured.problems,
        "interrupted": measured.interrupted,
        "usage": None,
        "yardstick_s": None,
    }


def unmeasured_record(name: str, facts: Facts, problem: str, interrupted: bool = False) -> TargetRecord:
    """The part of a target that could not be opened."""
    return target_record(Measured(name, facts, problems=[problem], interrupted=interrupted), None, {})


def _ledger(measured: Measured, task: Task | None, inside: Mapping[str, Iterable[str]]) -> Ledger | None:
    book = ledger(measured.serial)
    if book is None or task is None or task.name not in measured.server:
        return book
    stages = server_stages(measured.server, task.name, task.pipeline.steps, inside)
    waited = [timing.stages.get(SERVER, 0.0) for timing in measured.serial if timing.error is None]
    given = fan_out(measured.server, [network.name for network in task.networks])
    items = stage_items(given, task.pipeline.steps, inside)
    client_s = max(_client_s(measured) or 0.0, measured.round_trip_s or 0.0)
    return opened_up(book, stages, sum(waited) / len(waited), client_s, items)


def _client_s(measured: Measured) -> float | None:
    """The client's own CPU time of a request, in the mean; None where no server was asked."""
    own = [timing.client_s for timing in measured.serial if timing.error is None and SERVER in timing.stages]
    return sum(own) / len(own) if own else None


def _ledger_record(book: Ledger) -> LedgerRecord:
    rows = [cast(LedgerRow, asdict(row)) for row in book.rows]
    return {"rows": rows, "total_s": book.total_s, "median_s": book.median_s, "next": amdahl(book)}


def _level_record(level: Level) -> LevelRecord:
    answered = [timing.done_s for timing in level.timings if timing.error is None]
    raw = {key: [getattr(timing, key) for timing in level.timings] for key in Columns.__annotations__}
    return {
        "mode": level.mode,
        "load": level.load,
        "stable": level.stable,
        "per_s": len(answered) / max(answered) if answered else 0.0,
        "summary": latencies(level.timings),
        "windows": [cast(WindowRecord, asdict(window) | {"per_s": window.per_s}) for window in level.windows],
        "timings": cast(Columns, raw),
    }


def latencies(timings: Sequence[Timing]) -> Summary:
    """Percentiles of the answered requests' latencies in seconds, and the counts of all requests."""
    good = [timing.latency_s for timing in timings if timing.error is None]
    counts: Summary = {"requests": len(timings), "errors": len(timings) - len(good)}
    if not good:
        return counts
    late_s = [timing.sent_s - timing.intended_s for timing in timings]
    quantiles = {f"p{q}_s": float(np.percentile(good, q)) for q in PERCENTILES}
    return counts | quantiles | {"sent_late_p99_s": float(np.percentile(late_s, 99))}
