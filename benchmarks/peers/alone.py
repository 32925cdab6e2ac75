"""The networks alone: the same inputs through PyTorch, torch.compile, ONNX Runtime and OpenVINO, measured in turn.

OpenVINO's own load generator, `benchmark_app`, gives the ceiling: what the file reaches with nothing around it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.embedded_vs_engine import ALONE, TOGETHER, bare_target, network_inputs, turn
from benchmarks.peers.answers import COMPILED, EAGER, ENGINES, networks
from medseg.bench.measure.target import BenchTarget
from medseg.bench.show.tables import seconds, table
from medseg.engines.runs import cores, exported_file
from medseg.run import Run
from medseg.task import Array, Task, Unread

CEILING = "benchmark_app"
_APP = [sys.executable, "-c", "from openvino.tools.benchmark.main import main; main()"]


@dataclass
class Row:
    """One way to compute the networks of a case, with its measurements of every round."""

    target: BenchTarget
    p50_s: list[float] = field(default_factory=list)  # of a case alone
    per_s: list[float] = field(default_factory=list)  # cases a second, TOGETHER at once


def alone(task: Task, cases: Sequence[Unread], runs: Sequence[Run], precision: str, limit_s: float) -> str:
    """The table: a row a way, in three rounds of `limit_s` seconds each; `precision` is that of the engines' files."""
    ways = [(EAGER, "fp32"), (COMPILED, "fp32"), *((engine, precision) for engine in ENGINES)]
    inputs = network_inputs(task, cases[0], networks(runs, ENGINES[0], precision))
    rows = [
        Row(bare_target(task, cases, networks(runs, way, of, cores()), f"{way} {of}"))
        for way, of in ways
        if way not in ENGINES or _holds(runs, way, of)
    ]
    for row in rows:
        turn(row.target, cases, TOGETHER, limit_s)  # warm up; torch.compile compiles here
    ceilings: list[float] = []
    for number in range(3):
        print(f"networks alone: round {number + 1} of 3", file=sys.stderr)
        for row in rows:
            row.p50_s.append(turn(row.target, cases, ALONE, limit_s)[0])
            row.per_s.append(turn(row.target, cases, TOGETHER, limit_s)[1])
        ceilings.append(ceiling(runs, inputs, precision, limit_s))
    shown = [[row.target.name, seconds(median(row.p50_s)), *_rates(row.per_s)] for row in rows]
    header = ["network", "p50 alone", f"cases a second, {TOGETHER} at once", "spread of the rounds"]
    return table(header, [*shown, [f"{CEILING} {precision}", "", *_rates(ceilings)]])


def ceiling(runs: Sequence[Run], inputs: Sequence[tuple[str, Array]], precision: str, limit_s: float) -> float:
    """The cases a second of `benchmark_app`, if a case needs these network inputs and nothing else."""
    taken_s = 0.0
    for run in runs:
        batches = [batch for name, batch in inputs if name == run.network]
        file = exported_file(run, "openvino", precision)
        shape = ",".join(map(str, (1, *batches[0].shape[1:])))
        options = {"-m": str(file), "-shape": f"[{shape}]", "-t": f"{max(1, round(limit_s))}", "-hint": "throughput"}
        options["-infer_precision"] = "bf16" if precision == "bf16" else "f32"
        command = [*_APP, *(word for option in options.items() for word in option)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"Throughput:\s*([\d.]+) FPS", said)
        if not found:
            raise SystemExit(f"{CEILING} printed no throughput for {file}: {said[-500:]}")
        taken_s += sum(map(len, batches)) / float(found[1])
    return 1 / taken_s


def _holds(runs: Sequence[Run], engine: str, precision: str) -> bool:
    """Whether the engine opens a file of this precision: bf16.onnx is for OpenVINO alone."""
    return all(
        facts.get("engine", engine) == engine
        for run in runs
        for facts in run.files.values()
        if facts.get("precision") == precision
    )


def _rates(per_s: Sequence[float]) -> list[str]:
    return [f"{median(per_s):.2f}/s", f"{min(per_s):.2f} to {max(per_s):.2f}/s"]
