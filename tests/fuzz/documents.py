"""Damaged documents of runs and benchmarks, and damaged files that a run holds.

Another value in a document may be as right as the first: it is refused, or it is that value. A run's files are known by
their hashes, so whatever is changed in one is refused when it is opened.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.bench.judge.limits import check_limits, usual_limits
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.stored import read_json, rounded
from medseg.engines.runs import exported_file, opened
from medseg.run import Run
from medseg.tasks import network_named, network_of
from tests.bench.measuring import measured
from tests.bench.runs import bright_run
from tests.bench.servers import question, target
from tests.dali_pipelines.damage import damaged
from tests.fuzz.annotations import junk_in
from tests.fuzz.outcomes import Campaign, Outcome, outcome

PLAN = Plan(warmup=0, rounds=2, requests=2, window_s=0.02, stable=1.0)
READ = (
    "name",
    "serial",
    "levels",
    "scores",
    "problems",
    "yardstick_s",
)  # by a comparison: what else stands there is free


def _bench() -> bytes:
    """What a small measurement writes, as far as a comparison reads it."""
    cases = [question(f"case {number}") for number in range(2)]
    made = rounded(measured([target()], cases, Loads((1,)), PLAN, lambda _: {"dice": 0.9}))
    kept = {key: made[key] for key in ("schema", "task", "main", "started")}
    return json.dumps(kept | {"targets": [{key: made["targets"][0][key] for key in READ}]}).encode()


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
    whole = _bench()

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
