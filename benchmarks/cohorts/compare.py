"""The same files with the bare pipeline, with `medseg batch`, and with a shell loop of `medseg predict`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from medseg.api.predictor import open_predictor
from medseg.bench.show.tables import table
from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import Work
from medseg.cohort.how import how_asked
from medseg.cohort.pools import Workers
from medseg.engines.runs import cores
from medseg.task import Reading, Source, Task
from medseg.tasks import task_named


def compare(options: argparse.Namespace) -> None:
    """Cases per second of the bare pipeline, of `medseg batch`, and of a loop of `medseg predict`, in turn."""
    task = task_named(options.task)
    sources = [one for path in options.inputs for one in task.files.sources(path, Reading())]
    some = sources[: options.loop]
    ways = ("bare pipeline", "medseg batch", f"a loop over {len(some)}")
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="medseg-cohorts-") as name:
            rates[ways[0]].append(len(sources) / _bare(task, options, Path(name, "bare")))
            rates[ways[1]].append(len(sources) / _batch(task, options, Path(name, "batch")))
            rates[ways[2]].append(len(some) / _loop(some, options, Path(name, "loop")))
    bare = rates[ways[0]]
    rows = [
        [way, _spread(found), _spread([rate / base for rate, base in zip(found, bare, strict=True)])]
        for way, found in rates.items()
    ]
    print(table(["way", "cases a second", "of the bare pipeline"], rows))
    print(f"\n{len(sources)} cases, {options.rounds} rounds: median (lowest to highest)")


def _spread(values: list[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _bare(task: Task, options: argparse.Namespace, out: Path) -> float:
    """The seconds of all cases in this process, as many at a time as in a worker; opening the engines counts too."""
    at_once = 1 if task.files.volumes else cores()
    began = time.perf_counter()
    with open_predictor(task.name, options.run) as predictor:
        sources = [one for path in options.inputs for one in predictor.sources(path)]
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda one: predictor.answer(one).save(out / one.name), sources))
    return time.perf_counter() - began


def _batch(task: Task, options: argparse.Namespace, out: Path) -> float:
    work = Work(task.name, "", tuple(str(run.absolute()) for run in options.run))
    began = time.perf_counter()
    ledger = batch(
        task,
        list(map(str, options.inputs)),
        out,
        (work, how_asked(work)),
        Workers(workers=options.workers).open,
        Rules(),
    )
    assert all(entry.status == "done" for entry in ledger.entries.values())
    return time.perf_counter() - began


def _loop(some: list[Source], options: argparse.Namespace, out: Path) -> float:
    runs = [word for run in options.run for word in ("--run", str(run))]
    began = time.perf_counter()
    for one in some:
        command = [sys.executable, "-m", "medseg", "predict", options.task, str(one.path), *runs]
        subprocess.run([*command, "--out", str(out / one.name)], check=True, capture_output=True)
    return time.perf_counter() - began
