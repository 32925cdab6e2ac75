"""The embedded ensemble compared with the bare engine in one process: the cost of serving, measured in turn.

    python -m benchmarks.embedded_vs_engine gi-tract DATA --run RUN [--cases 8] [--seconds 6] [--rounds 3]

The bare engine gets the networks' inputs directly, in this process: it reads no file, decodes nothing and makes no
mask. `pipeline` adds decoding and the mask, still in this process. `served` is the ensemble of `medseg serve`, from
encoded bytes to the mask. A second table shows how much CPU time each of the server's processes spends on a request.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import process_time

from psutil import NoSuchProcess, Process

from medseg.api.serve import Repository, write_repository
from medseg.bench.cases import cases_of
from medseg.bench.measure.clock import Clock
from medseg.bench.measure.load import Crew, Plan, closed_loop
from medseg.bench.measure.recorded import latencies
from medseg.bench.measure.served import spent
from medseg.bench.measure.target import INPUTS, At, BenchTarget, Statistics, local_target, served_target
from medseg.bench.show.tables import seconds, table
from medseg.engines.runs import opened
from medseg.run import Run
from medseg.task import Array, Infer, Networks, Task, Tensors, Unread
from medseg.tasks import task_named
from medseg.triton_models.names import step_model
from medseg.triton_models.server import serving

ALONE, TOGETHER = 1, 4  # requests at once


@dataclass
class Side:
    """One way to answer, with its measurements of every round, by the number of requests at once."""

    target: BenchTarget
    p50_s: dict[int, list[float]] = field(default_factory=lambda: {ALONE: [], TOGETHER: []})
    per_s: dict[int, list[float]] = field(default_factory=lambda: {ALONE: [], TOGETHER: []})
    decode_s: list[float] = field(default_factory=list)  # of a request that is sent alone; only for the server
    cpu_s: list[dict[str, float]] = field(default_factory=list)  # of a request, TOGETHER at once; by process, likewise


def main() -> None:
    """Measure in turn; print the table, the ratio of throughputs and the added latency."""
    options = _options()
    runs = [Run(path) for path in options.run]
    task = task_named(options.task).answered_by([run.network for run in runs])
    cases = [read_once(case) for case in cases_of(task, options.data)[: options.cases]]
    wanted = Repository("embedded", options.engine, options.precision, options.decoder)
    with opened(runs, options.engine, options.precision) as networks, tempfile.TemporaryDirectory() as folder:
        names = write_repository(Path(folder) / "models", task, options.run, wanted)
        with serving(Path(folder) / "models", names, Path(folder) / "triton.log") as server:
            served = served_target("served", task, At(server.url, [server.process.pid]), {})
            sides = [
                Side(bare_target(task, cases, networks)),
                Side(local_target("pipeline", task.pipeline, networks, {})),
                Side(served),
            ]
            for side in sides:  # warm up
                turn(side.target, cases, ALONE, 1.0)
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
                _round(task, sides, cases, options.seconds)
            served.close()
    print(table(["side", "at once", "p50", "throughput", "spread of the rounds"], [*_rows(sides)]))
    print("\n" + table(["process", f"CPU time of a request, {TOGETHER} at once", "share"], _cpu_rows(sides[-1])))
    print(f"\n{verdict(sides)}")


def bare_target(task: Task, cases: Sequence[Unread], networks: Networks, name: str = "bare engine") -> BenchTarget:
    """The networks alone: they get each case's inputs, which were recorded once from the pipeline."""
    inputs = {case.id: network_inputs(task, case, networks) for case in cases}

    def answer(case: Unread, clock: Clock) -> Tensors:
        with clock("engine"):
            return {f"{number}": networks(of)(batch) for number, (of, batch) in enumerate(inputs[case.id])}

    return BenchTarget(name, answer)


def network_inputs(task: Task, case: Unread, networks: Networks) -> list[tuple[str, Array]]:
    """What the pipeline gives to its networks for a case: names and batches, in order."""
    found: list[tuple[str, Array]] = []

    def listening(name: str) -> Infer:
        infer = networks(name)

        def run(batch: Array) -> Array:
            found.append((name, batch.copy()))
            return infer(batch)

        return run

    task.pipeline(case.ask(), listening)
    return found


def _round(task: Task, sides: Sequence[Side], cases: Sequence[Unread], limit_s: float) -> None:
    for at_once in (ALONE, TOGETHER):
        for side in sides:
            before, busy = _statistics(side.target), _cpu_s(side.target)
            p50_s, per_s = turn(side.target, cases, at_once, limit_s)
            side.p50_s[at_once].append(p50_s)
            side.per_s[at_once].append(per_s)
            if before and at_once == ALONE:
                side.decode_s.append(_decode_s(task, before, _statistics(side.target)))
            elif before:
                side.cpu_s.append(_cpu_of_a_request(task, busy, _cpu_s(side.target), before, _statistics(side.target)))


def turn(target: BenchTarget, cases: Sequence[Unread], at_once: int, limit_s: float) -> tuple[float, float]:
    """Median latency and answers per second. Ends the program if a request fails."""
    plan = Plan(warmup=0, window_s=limit_s / 3, limit_s=limit_s)
    level = closed_loop(Crew(), target, cases, at_once, plan)
    summary = latencies(level.timings)
    if summary["errors"]:
        sys.exit(f"{target.name}: {next(timing.error for timing in level.timings if timing.error)}")
    answered = sum(window.answered for window in level.windows)
    return summary["p50_s"], answered / level.windows[-1].end_s


def read_once(case: Unread) -> Unread:
    """The case, read now: reading its file is then not measured."""
    tensors = case.ask()
    return replace(case, ask=lambda: tensors)


def _statistics(target: BenchTarget) -> Statistics:
    return target.statistics() if target.statistics else {}


def _cpu_s(target: BenchTarget) -> dict[str, float]:
    """The CPU seconds so far of this process and of the target's, by model; both instances of a network together."""
    found = defaultdict(float, client=process_time())
    for process in (one for pid in target.pids for one in (Process(pid), *Process(pid).children(recursive=True))):
        with suppress(NoSuchProcess):
            model = re.search(r"/models/([^/]+)/", " ".join(process.cmdline()))
            spent_s = process.cpu_times()
            found[model[1] if model else process.name()] += spent_s.user + spent_s.system
    return found


def _cpu_of_a_request(
    task: Task, busy: Mapping[str, float], now: Mapping[str, float], before: Statistics, after: Statistics
) -> dict[str, float]:
    """The CPU seconds of each process between two moments, divided by the requests that the last step answered."""
    last = step_model(task.name, task.pipeline.steps[-1].name)
    requests = after[last][INPUTS] - before[last][INPUTS]
    return {name: (spent_s - busy.get(name, 0.0)) / requests for name, spent_s in now.items()}


def _cpu_rows(served: Side) -> list[list[str]]:
    rows = {name: median(turn[name] for turn in served.cpu_s) for name in served.cpu_s[0]}
    whole = sum(rows.values())
    shown = sorted(rows.items(), key=lambda row: -row[1])
    return [[name, seconds(spent_s), f"{spent_s / whole:.1%}"] for name, spent_s in [*shown, ("all", whole)]]


def _decode_s(task: Task, before: Statistics, after: Statistics) -> float:
    """The mean seconds of a request in the server's steps `check`, which reads a JPEG's stream, and `decode`."""
    answered = [spent(before, after, 1)[step_model(task.name, step)] for step in ("check", "decode")]
    return sum(one["compute_infer"] / one["inference_count"] for one in answered)


def _rows(sides: Sequence[Side]) -> list[list[str]]:
    return [
        [
            side.target.name,
            str(at_once),
            seconds(median(side.p50_s[at_once])),
            f"{median(side.per_s[at_once]):.2f}/s",
            f"{min(side.per_s[at_once]):.2f} to {max(side.per_s[at_once]):.2f}/s",
        ]
        for at_once in (ALONE, TOGETHER)
        for side in sides
    ]


def verdict(sides: Sequence[Side]) -> str:
    """The cost of serving, in two sentences."""
    bare, pipeline, served = (median(side.per_s[TOGETHER]) for side in sides)
    bare_s, pipeline_s, served_s = (median(side.p50_s[ALONE]) for side in sides)
    added_s = served_s - bare_s
    decode_s = median(sides[-1].decode_s)
    return (
        f"At {TOGETHER} at once the served ensemble reaches {served / bare:.2f} of the bare engine's throughput, and "
        f"{served / pipeline:.2f} of the pipeline's in one process. At {ALONE} it adds {1e3 * added_s:.1f} ms to the "
        f"bare engine: {1e3 * decode_s:.1f} ms for the server's check and decode, {1e3 * (added_s - decode_s):.1f} ms "
        f"for the rest; and {1e3 * (served_s - pipeline_s):.1f} ms to the pipeline."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["gi-tract", "stas"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, action="append", required=True)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--decoder", default="dali", help="of the served ensemble: dali or reference")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
