"""`medseg bench --search` compared with a full grid, in which every way to serve is measured as in a report.

    python -m benchmarks.search_vs_grid TASK DATA --run RUN ... [--engine openvino ...] [--at-once 4] [--out FOLDER]

Both are timed in one run on one machine: first the search, then the grid, whose best row is the reference. The way that
the search chose is judged by its throughput in the grid. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from medseg.bench.benchmark import Settings
from medseg.bench.command import SEARCHED_CASES, Beside, measured, searched
from medseg.bench.lineup import files, held, ways_to_serve
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.record import TargetRecord
from medseg.bench.search import Limits, Load, Searched
from medseg.bench.show.tables import seconds, table
from medseg.run import Run
from medseg.task import Task
from medseg.tasks import task_as


def main() -> None:
    """Search, then measure the grid, and print both."""
    options = _options()
    runs = [Run(path) for path in options.run]
    task = task_as(options.task, runs)
    load = Load(options.at_once, options.engine)
    started = perf_counter()
    found = searched(task, runs, options.data, Limits(drop=options.drop), load)
    search_s, started = perf_counter() - started, perf_counter()
    grid = _grid(task, runs, options.data, load)
    text = _told(found, grid, options.drop, search_s, perf_counter() - started)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "search_vs_grid.md").write_text(text)
        (options.out / "grid.json").write_text(json.dumps(grid, indent=1))


def _grid(task: Task, runs: Sequence[Run], data: Path, load: Load) -> list[TargetRecord]:
    """Every way to serve every file of the runs, each measured as in a report."""
    ways = [way for entry in files(runs, load.engines, held(runs)) for way in ways_to_serve(task, entry)]
    settings = Settings(Plan(timeout_s=load.timeout_s), Loads((load.at_once,)))
    record = measured(task, runs, ways, data, settings, Beside(cases=SEARCHED_CASES, waterfall=False))
    main = record["main"]
    for target in record["targets"]:
        target["accuracy"] = {main: target["accuracy"][main]} if main in target["accuracy"] else {}
    return record["targets"]


def _told(found: Searched, grid: Sequence[TargetRecord], drop: float, search_s: float, grid_s: float) -> str:
    sound = [target for target in grid if target["levels"] and not target["problems"]]
    least = (1 - drop) * _score(sound[0])  # of fp32's score; fp32 comes first; without a truth all scores are 0
    fit = [target for target in sound if _score(target) >= least]
    rows = sorted(fit, key=lambda target: -_per_s(target))
    taken = found.best.entry.name if found.best else ""
    ours = next((_per_s(target) for target in fit if target["name"] == taken), 0.0)
    best = _per_s(rows[0])
    header = ["way", "answers/s", "p95 at load", "score", "taken by the search"]
    body = [_row(target, taken) for target in rows]
    said = [
        f"search: {search_s:.0f} s, {len(found.ways)} ways measured, {len(found.left_out)} files or ways left out",
        f"grid: {grid_s:.0f} s, {len(grid)} ways",
        f"the search took {search_s / grid_s:.2f} of the grid's time, and chose {ours / best:.3f} of its best speed",
    ]
    return "\n\n".join([table(header, body), *said])


def _row(target: TargetRecord, taken: str) -> list[str]:
    times = seconds(target["levels"][-1]["summary"].get("p95_s"))
    return [
        target["name"],
        f"{_per_s(target):.3g}",
        times,
        f"{_score(target):.4f}" if target["accuracy"] else "-",
        "yes" if target["name"] == taken else "",
    ]


def _per_s(target: TargetRecord) -> float:
    return target["levels"][-1]["per_s"]


def _score(target: TargetRecord) -> float:
    return next((mean["mean"] for mean in target["accuracy"].values()), 0.0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, action="append", required=True)
    parser.add_argument("--engine", action="append", default=None)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--drop", type=float, default=0.01)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.engine = options.engine or ["openvino"]
    return options


if __name__ == "__main__":
    main()
