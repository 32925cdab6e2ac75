"""A benchmark as one call: runs and servers on the cases of a data folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medseg.api.predictor import served_as
from medseg.bench.benchmark import Extras, Settings, benchmark
from medseg.bench.cases import cases_of
from medseg.bench.lineup import Entry, files, held, lineup, remote, usual, ways_to_serve
from medseg.bench.measure.batches import batches
from medseg.bench.measure.load import QUICK, Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.record import Record
from medseg.bench.search import Limits, Load, Searched, search
from medseg.engines.runs import as_runs
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Task
from medseg.tasks import task_as

QUICK_CASES = 8
SEARCHED_CASES = 16  # of a search: it asks each way anew


@dataclass(frozen=True)
class Beside:
    """What is measured besides the entries, and with how many cases."""

    urls: Sequence[str] = ()  # servers that are already running
    batch: Sequence[int] = ()  # each network alone at these batch sizes
    cases: int | None = None  # only the first ones
    waterfall: bool = True  # every file of each network compared with torch


def bench(
    task: str,
    data: Path | str,
    runs: Sequence[Run | Path | str] = (),
    url: str | None = None,
    entries: Sequence[Entry] | None = None,
    quick: bool = False,
) -> Record:
    """What bench.json holds: latency, throughput and scores of runs' entries, or of a server, on a data folder's cases.

    Without `entries` the usual ones are measured: the CPU's best engine in every precision that the runs hold, here and
    served. `quick` is one round over at most 8 cases. medseg.bench.show.report.write_report makes the report of it.
    Raises InputError for both or neither of runs and url, or where there are no cases.

    >>> import medseg
    >>> entry = medseg.Entry("openvino", "fp32", "local")
    >>> record = medseg.bench("luna", "data", ["runs/luna-segment", "runs/luna-nodule"], entries=[entry], quick=True)
    >>> record["targets"][0]["name"], record["targets"][0]["problems"]
    ('openvino fp32, local', [])
    """
    if bool(runs) == bool(url):
        raise InputError("--run and --url: got both or neither; expected runs to open, or a server to ask")
    held = as_runs(runs)
    subject = task_as(task, held) if held else served_as(task, str(url))
    chosen = [] if url else usual(held, quick) if entries is None else entries
    settings = Settings(QUICK if quick else Plan(), Loads())
    beside = Beside([url] if url else [], cases=QUICK_CASES if quick else None, waterfall=not quick)
    return measured(subject, held, chosen, Path(data), settings, beside)


def measured(
    task: Task, runs: Sequence[Run], entries: Sequence[Entry], data: Path, settings: Settings, beside: Beside
) -> Record:
    """The benchmark of these entries and of the rest of the plan, on the cases of a data folder or a file."""
    timeout_s = settings.plan.timeout_s
    cases = cases_of(task, data)[: beside.cases]
    openings = lineup(task, runs, entries, timeout_s) + [remote(task, url, timeout_s) for url in beside.urls]
    alone = batches(task, runs, entries, beside.batch)
    return benchmark(task, openings, cases, settings, Extras(runs, data, alone, beside.waterfall))


def searched(task: Task, runs: Sequence[Run], data: Path, limits: Limits, load: Load) -> Searched:
    """How the runs are best served on a data folder's cases.

    Raises KeyboardInterrupt where Ctrl-C ends it.
    """

    def ask(entries: Sequence[Entry], plan: Plan, loads: Loads) -> Record:
        settings = Settings(replace(plan, timeout_s=load.timeout_s), loads)
        record = measured(task, runs, entries, data, settings, Beside(cases=SEARCHED_CASES, waterfall=False))
        if record["interrupted"]:
            raise KeyboardInterrupt
        return record

    return search(ask, files(runs, load.engines, held(runs)), partial(ways_to_serve, task), limits, load.at_once)
