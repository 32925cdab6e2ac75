"""Our load generator compared with NVIDIA's perf_analyzer: the same ensemble and picture, measured in turn.

    python -m benchmarks.beside_perf_analyzer gi-tract DATA --run RUN --perf-analyzer PATH --concurrency 1

perf_analyzer is not among our dependencies; docs/benchmarks.md says where to get one that runs here.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.api.serve import Repository, write_repository
from medseg.bench.cases import cases_of
from medseg.bench.measure.load import Crew, Plan, closed_loop
from medseg.bench.measure.recorded import latencies
from medseg.bench.measure.target import At, served_target
from medseg.bench.show.tables import seconds, table
from medseg.data.byte_strings import framed
from medseg.task import Tensors, Unread
from medseg.tasks import task_named
from medseg.triton_models.server import serving

PLAN = Plan(warmup=0, window_s=5.0, limit_s=20.0)


def main() -> None:
    """Measure in turn and print the table."""
    options = _options()
    task = task_named(options.task)
    case = cases_of(task, options.data)[0]
    tensors = case.ask()
    asked = replace(case, ask=lambda: tensors)  # read only once, because perf_analyzer reads no files either
    with tempfile.TemporaryDirectory() as folder:
        names = write_repository(Path(folder) / "m", task, options.run, Repository("embedded", None, "fp32", "dali"))
        with serving(Path(folder) / "m", names, Path(folder) / "log") as server:
            target = served_target("ours", task, At(server.url), {})
            _ours(target, asked, 1)
            inputs = _input_file(asked.ask(), Path(folder) / "input.json")
            lines = [
                row
                for concurrency in options.concurrency
                for row in (
                    ["medseg bench", str(concurrency), *_ours(target, asked, concurrency)],
                    ["perf_analyzer", str(concurrency), *_theirs(options, server.ports.http, inputs, concurrency)],
                )
            ]
    print(table(["client", "at once", "throughput", "p50", "p90", "p99"], lines))


def _ours(target, case: Unread, concurrency: int) -> list[str]:
    level = closed_loop(Crew(), target, [case], concurrency, PLAN)
    summary = latencies(level.timings)
    rate = sum(window.answered for window in level.windows) / level.windows[-1].end_s
    return [f"{rate:.2f}/s", *(seconds(summary[f"p{q}_s"]) for q in (50, 90, 99))]


def _theirs(options: argparse.Namespace, port: int, inputs: Path, concurrency: int) -> list[str]:
    report = inputs.with_name(f"report{concurrency}.csv")
    command = [str(options.perf_analyzer), "-m", options.task, "-u", f"127.0.0.1:{port}", "-i", "http"]
    command += ["--input-data", str(inputs), "--concurrency-range", str(concurrency), "-f", str(report)]
    command += ["--measurement-interval", "5000", "--max-trials", "4", "--percentile", "50", "-s", "25"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    if not report.is_file():
        sys.exit(f"perf_analyzer ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    (row,) = csv.DictReader(report.open())
    times = [seconds(float(row[f"p{q} latency"]) / 1e6) for q in (50, 90, 99)]
    return [f"{float(row['Inferences/Second']):.2f}/s", *times]


def _input_file(tensors: Tensors, path: Path) -> Path:
    """The request as perf_analyzer's input file."""
    arrays = {name: framed(array) if array.dtype == object else array for name, array in tensors.items()}
    data = {name: {"content": np.ravel(one).tolist(), "shape": list(one.shape)} for name, one in arrays.items()}
    path.write_text(json.dumps({"data": [data]}))
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["gi-tract", "stas", "brain-lgg"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, action="append", required=True)
    parser.add_argument("--perf-analyzer", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, action="append", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
