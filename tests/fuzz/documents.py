"""Damaged documents of runs and benchmarks, and damaged files that a run holds.

Another value in a document may be as right as the first: it is refused, or it is that value. A run's files are known by
their hashes, so whatever is changed in one is refused when it is opened.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.bench.compare import check_limits, usual_limits
from medseg.bench.record import read_json
from medseg.engines.runs import exported_file, opened
from medseg.run import Run
from medseg.tasks import network_named, network_of
from tests.bench.runs import bright_run
from tests.dali_pipelines.damage import damaged
from tests.fuzz.annotations import junk_in
from tests.fuzz.outcomes import Campaign, Outcome, outcome

BENCH = {
    "schema": 1,
    "task": "gi-tract",
    "started": "2026-01-01T00:00:00",
    "targets": [
        {
            "name": "openvino fp32, local",
            "serial": {
                "timings": [
                    {"case": f"case {n}", "intended_s": n, "sent_s": n, "done_s": n + 0.5, "error": None}
                    for n in range(4)
                ]
            },
            "levels": [],
            "scores": {"case 0": {"dice": 0.9}},
            "problems": [],
            "yardstick_s": 0.1,
        }
    ],
}


def _hurt(whole: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """By turns something else in a place, and other bytes."""
    for number, ((place, data), bytes_) in enumerate(
        zip(junk_in(json.loads(whole), count, seed), damaged(whole, count, seed), strict=False)
    ):
        yield (place, data) if number % 2 else (f"number {number}", bytes_)


def _run(folder: Path) -> Run:
    return bright_run(folder / "run", network_named("gi-tract"))


def manifests(count: int, folder: Path, seed: int) -> Iterator[Outcome]:
    path = _run(folder).path / "manifest.json"
    whole = path.read_bytes()

    def read() -> Any:
        run = Run(path.parent)
        return run.network, run.options, run.files, network_of(run), exported_file(run, "openvino", "fp32")

    wanted = read()
    for name, data in _hurt(whole, count, seed):
        path.write_bytes(data)
        yield outcome(read, lambda found: found == wanted, altered=True), name


def run_files(count: int, folder: Path, seed: int) -> Iterator[Outcome]:
    run = _run(folder)
    path = run.path / "fp32.onnx"
    whole = path.read_bytes()

    def read() -> bytes:
        with opened([Run(run.path)], "openvino", "fp32"):
            return path.read_bytes()

    for number, data in enumerate(damaged(whole, count, seed)):
        path.write_bytes(data)
        yield outcome(read, lambda found: found == whole, altered=False), f"number {number}"


def benches(count: int, folder: Path, seed: int) -> Iterator[Outcome]:
    path = folder / "bench.json"
    whole = json.dumps(BENCH).encode()

    def read() -> Any:
        document = read_json(path)
        check_limits(usual_limits(document), document)
        return document

    path.write_bytes(whole)
    wanted = read()
    for name, data in _hurt(whole, count, seed):
        path.write_bytes(data)
        yield outcome(read, lambda found: found == wanted, altered=True), name


CAMPAIGNS = {
    "manifest.json": Campaign(manifests, clear=0.4),
    "a run's file": Campaign(run_files, clear=0.9),
    "bench.json": Campaign(benches, clear=0.4),
}
