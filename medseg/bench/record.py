"""Record: what a benchmark measured, as the plain data of bench.json; raw times are kept for later comparisons."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medseg.bench.ledger import Ledger, amdahl, ledger
from medseg.bench.load import Level, Timing
from medseg.bench.measure import Measured
from medseg.bench.schema import BENCH, SCHEMA
from medseg.bench.served import fan_out, opened_up, server_stages, stage_items
from medseg.bench.target import SERVER
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.schema import either
from medseg.task import Task

_WIDEST_PX = 1280  # of a picture in the report
PERCENTILES = (50, 90, 95, 99)
RAW = ("case", "intended_s", "sent_s", "done_s", "error")  # kept of every request under load

Record = dict[str, Any]


def target_record(measured: Measured, task: Task | None, inside: Mapping[str, Iterable[str]]) -> Record:
    """One target's part of bench.json; `inside` names the networks that each step calls."""
    book = _ledger(measured, task, inside)
    return {
        "name": measured.name,
        "facts": dict(measured.facts),
        "first_s": measured.first.latency_s if measured.first else None,
        "serial": {"summary": latencies(measured.serial), "timings": [asdict(timing) for timing in measured.serial]},
        "ledger": _ledger_record(book) if book else None,
        "fan_out": fan_out(measured.server, [network.name for network in task.networks]) if task else {},
        "round_trip_s": measured.round_trip_s,
        "client_s": _client_s(measured),
        "levels": [_level_record(level) for level in measured.levels],
        "scores": {row: dict(scores) for row, scores in measured.scored.rows.items()},
        "accuracy": {name: asdict(mean) for name, mean in measured.scored.means.items()},
        "counts": dict(measured.scored.counts),
        "answers": measured.digests,
        "pictures": [_picture_record(measured, row, task) for row in measured.pictures],
        "problems": measured.problems,
        "interrupted": measured.interrupted,
    }


def unmeasured_record(name: str, facts: Mapping[str, Any], problem: str) -> Record:
    """The part of a target that could not be opened."""
    record = target_record(Measured(name, facts, problems=[problem]), None, {})
    return record | {"usage": None, "yardstick_s": None}


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


def _picture_record(measured: Measured, row: str, task: Task | None) -> Record:
    assert task is not None and task.scoring is not None, "without scores nothing is drawn"
    metric, picture = task.scoring.main, measured.pictures[row]
    share = min(1.0, _WIDEST_PX / picture.shape[1])
    small = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    _, png = cv2.imencode(".png", small[..., ::-1])
    value = measured.scored.rows[row][metric]
    return {"case": row, "metric": metric, "value": value, "png": base64.b64encode(png.tobytes()).decode()}


def _ledger_record(book: Ledger) -> Record:
    rows = [asdict(row) for row in book.rows]
    return {"rows": rows, "total_s": book.total_s, "median_s": book.median_s, "next": amdahl(book)}


def _level_record(level: Level) -> Record:
    answered = [timing.done_s for timing in level.timings if timing.error is None]
    raw = {key: [getattr(timing, key) for timing in level.timings] for key in RAW}
    return {
        "mode": level.mode,
        "load": level.load,
        "stable": level.stable,
        "per_s": len(answered) / max(answered) if answered else 0.0,
        "summary": latencies(level.timings),
        "windows": [asdict(window) | {"per_s": window.per_s} for window in level.windows],
        "timings": raw,
    }


def latencies(timings: Sequence[Timing]) -> Record:
    """Percentiles of the answered requests' latencies in seconds, and the counts of all requests."""
    good = [timing.latency_s for timing in timings if timing.error is None]
    counts = {"requests": len(timings), "errors": len(timings) - len(good)}
    if not good:
        return counts
    late_s = [timing.sent_s - timing.intended_s for timing in timings]
    quantiles = {f"p{q}_s": float(np.percentile(good, q)) for q in PERCENTILES}
    return counts | quantiles | {"sent_late_p99_s": float(np.percentile(late_s, 99))}


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write bench.json, whole or not at all, and never over an earlier one. Raises InputError where there is one."""
    check_new(path)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(rounded(record), indent=1) + "\n")


def check_new(path: Path) -> None:
    """Raise InputError where a bench.json exists: it is what later runs are compared with, so it never changes."""
    if path.exists():
        raise InputError(f"{path} exists and is never overwritten; expected a folder without one: choose another --out")


def rounded(value: Any) -> Any:
    """The same data with floats to the microsecond, which is finer than any clock here."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def read_json(path: Path) -> Record:
    """A bench.json. Raises InputError, naming the first thing wrong, for a file that is not one of this schema."""
    if not path.is_file():
        raise InputError(f"{path} is no file; expected a bench.json written by `medseg bench`: check the path")
    try:
        record = json.loads(path.read_bytes())
    except RecursionError:
        raise _no_bench(path, "it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise _no_bench(path, str(error).splitlines()[0]) from error
    version = record.get("schema") if isinstance(record, dict) else None
    if either(version, int) and version != SCHEMA:
        raise InputError(f"{path} has schema {version}; this medseg compares schema {SCHEMA}: run `medseg bench` again")
    if problem := BENCH(record, "it"):
        raise _no_bench(path, problem)
    return dict(record)


def _no_bench(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is not a bench.json: {reason}; expected one as `medseg bench` wrote it: run it again")
