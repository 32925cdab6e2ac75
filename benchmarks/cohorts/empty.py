"""Empty cases through real workers: the time per case, and the memory of driver and workers."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from medseg import __version__
from medseg.api.predictor import Predictor
from medseg.bench.show.tables import table
from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import Pool, Work
from medseg.cohort.local import Local
from medseg.task import Files, Pipeline, Reading, Request, Source, Task, Tensor, Tensors

MIB = 2**20
LOOKS = 10  # how often memory is read
MADE_BY = {"medseg": __version__, "engine": "none", "precision": "fp32", "runs": []}


def _sources(path: Path, _: Reading) -> list[Source]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [Source(file, file.stem, partial(_request, file)) for file in files]


def _request(file: Path) -> Request:
    return Request(file.stem, {"nothing": np.zeros(1, np.uint8)}, file)


def _write(request: Request, _: Tensors, folder: Path) -> list[Path]:
    (folder / f"{request.name}.out").touch()
    return [folder / f"{request.name}.out"]


_NOTHING = Pipeline((Tensor("nothing", "uint8", (1,)),), ("nothing",), (), ("nothing",))
TASK = Task("empty", "Nothing", (), _NOTHING, Files(_sources, _write, lambda *_: []))


@contextmanager
def opened(*_: object) -> Iterator[Predictor]:
    """A predictor for workers that gives empty answers."""
    yield Predictor(TASK, lambda tensors: tensors, MADE_BY)


def empty(options: argparse.Namespace) -> None:
    """The time per case, and the memory of driver and workers meanwhile."""
    with tempfile.TemporaryDirectory(prefix="medseg-cohorts-") as name:
        folder = Path(name, "in")
        folder.mkdir()
        for number in range(options.cases):
            (folder / f"{number:06}.txt").touch()
        work = Work("empty", "", opener="benchmarks.cohorts.empty:opened", expected=MADE_BY, arrays=False)
        looks = Looks(options.cases)
        pools = partial(_local, options.workers, looks)
        began = time.perf_counter()
        batch(TASK, [str(folder)], Path(name, "out"), (work, MADE_BY), pools, Rules(heard=looks.heard))
        seconds = time.perf_counter() - began
    print(table(["cases", "driver", "workers"], looks.rows))
    print(f"\n{options.cases} cases in {seconds:.1f} s, {1e3 * seconds / options.cases:.2f} ms a case")


def _local(workers: int, looks: Looks, work: Work) -> Pool:
    looks.pool = Local([work] * workers)
    return looks.pool


@dataclass
class Looks:
    """Reads the memory several times, evenly spread over the cases."""

    cases: int
    pool: Local | None = None
    seen: int = 0
    rows: list[list[str]] = field(default_factory=list)

    def heard(self, _: object) -> None:
        """Called with each finished case."""
        self.seen += 1
        if self.seen % max(1, self.cases // LOOKS) == 0:
            pids = self.pool.pids() if self.pool else []
            each = ", ".join(f"{psutil.Process(pid).memory_info().rss / MIB:.0f}" for pid in pids)
            own = psutil.Process().memory_info().rss / MIB
            self.rows.append([str(self.seen), f"{own:.0f} MiB", f"{each} MiB"])
