"""What a cohort costs besides inference, how fast it is compared with other ways, and how long an archive takes.

    python -m benchmarks.cohorts empty [--cases 20000] [--workers 2]
    python -m benchmarks.cohorts compare TASK INPUT... --run RUN [--run RUN] [--loop 5]
    python -m benchmarks.cohorts simulate [--cases 100000] [--workers 64] [--read 4] [--infer 12] [--write 2]

`empty` sends empty cases through real workers, and measures the scheduling time per case and the memory. `compare`
answers the same files with the bare pipeline in this process, with `medseg batch`, and with a shell loop of `medseg
predict` over the first few. `simulate` sends made-up outcomes to scheduler and ledger, in simulated time.
"""

from __future__ import annotations

import argparse
import heapq
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from medseg import __version__
from medseg.api.predictor import Predictor, open_predictor
from medseg.bench.show.tables import table
from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import BROKEN, REFUSED, SUSPECT, Answered, Item, Outcome, Pool, Work
from medseg.cohort.how import how_asked
from medseg.cohort.ledger import Ledger, Writer, write_ledger
from medseg.cohort.local import Local
from medseg.cohort.place import Place
from medseg.cohort.pools import Workers
from medseg.cohort.schedule import carry_out
from medseg.engines.runs import cores
from medseg.task import Files, Pipeline, Reading, Request, Source, Task, Tensor, Tensors
from medseg.tasks import task_named

MIB = 2**20
LOOKS = 10  # how often memory is read
MADE_BY = {"medseg": __version__, "engine": "none", "precision": "fp32", "runs": []}


def main() -> None:
    """Measure what was asked for and print it as a table."""
    options = _options()
    {"empty": empty, "compare": compare, "simulate": simulate}[options.what](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    one = kinds.add_parser("empty")
    one.add_argument("--cases", type=int, default=20_000)
    one.add_argument("--workers", type=int, default=2)
    one = kinds.add_parser("compare")
    one.add_argument("task")
    one.add_argument("inputs", nargs="+", type=Path)
    one.add_argument("--run", action="append", required=True, type=Path)
    one.add_argument("--loop", type=int, default=5, help="cases of the shell's loop")
    one = kinds.add_parser("simulate")
    one.add_argument("--cases", type=int, default=100_000)
    one.add_argument("--workers", type=int, default=64)
    for stage, seconds in (("read", 4.0), ("infer", 12.0), ("write", 2.0)):
        one.add_argument(f"--{stage}", type=float, default=seconds, help="median seconds of a case")
    one.add_argument("--deaths", type=float, default=1e-4, help="share of the cases that end their worker")
    one.add_argument("--bad", type=float, default=2e-3, help="share of the cases that are refused")
    return parser.parse_args()


# Empty cases.


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
        work = Work("empty", "", opener="benchmarks.cohorts:opened", expected=MADE_BY, arrays=False)
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


# The same files in three ways.


def compare(options: argparse.Namespace) -> None:
    """Cases per second of the bare pipeline, of `medseg batch`, and of a loop of `medseg predict`."""
    task = task_named(options.task)
    sources = [one for path in options.inputs for one in task.files.sources(path, Reading())]
    with tempfile.TemporaryDirectory(prefix="medseg-cohorts-") as name:
        bare = len(sources) / _bare(task, options, Path(name, "bare"))
        cohort = len(sources) / _batch(task, options, Path(name, "batch"))
        some = sources[: options.loop]
        loop = len(some) / _loop(some, options, Path(name, "loop"))
    rows = [
        [what, f"{rate:.3f}", f"{rate / bare:.2f}"]
        for what, rate in (("bare pipeline", bare), ("medseg batch", cohort), (f"a loop over {len(some)}", loop))
    ]
    print(table(["way", "cases a second", "of the bare pipeline"], rows))


def _bare(task: Task, options: argparse.Namespace, out: Path) -> float:
    """The seconds of all cases in this process with open engines, as many cases at a time as in a worker."""
    at_once = 1 if task.files.volumes else cores()
    with open_predictor(task.name, options.run) as predictor:
        began = time.perf_counter()
        sources = [one for path in options.inputs for one in predictor.sources(path)]
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda one: predictor.answer(one).save(out / one.name), sources))
        return time.perf_counter() - began


def _batch(task: Task, options: argparse.Namespace, out: Path) -> float:
    work = Work(task.name, "", tuple(str(run.absolute()) for run in options.run))
    began = time.perf_counter()
    ledger = batch(task, list(map(str, options.inputs)), out, (work, how_asked(work)), Workers().open, Rules())
    assert all(entry.status == "done" for entry in ledger.entries.values())
    return time.perf_counter() - began


def _loop(some: list[Source], options: argparse.Namespace, out: Path) -> float:
    runs = [word for run in options.run for word in ("--run", str(run))]
    began = time.perf_counter()
    for one in some:
        command = [sys.executable, "-m", "medseg", "predict", options.task, str(one.path), *runs]
        subprocess.run([*command, "--out", str(out / one.name)], check=True, capture_output=True)
    return time.perf_counter() - began


# An archive in simulated time.


@dataclass
class Simulated:
    """Workers whose cases take random times. Reading and writing run beside inference, as in a real worker."""

    options: argparse.Namespace
    most: int = 3
    now: float = 0.0
    rng: random.Random = field(default_factory=partial(random.Random, 0))

    def __post_init__(self) -> None:
        self.workers = [deque[Item]() for _ in range(self.options.workers)]
        self.events: list[tuple[float, int, str]] = []
        self.free = list(range(self.options.workers))  # workers with room

    def take(self, item: Item, _: str = "") -> bool:
        """See Pool: to the first worker with room, or to an idle worker if the case must be alone."""
        for worker in self.free:
            queue = self.workers[worker]
            if not any(one.alone for one in queue) and (not queue if item.alone else len(queue) < self.most):
                queue.append(item)
                if len(queue) == 1:
                    self._begin(worker)
                if len(queue) == self.most:
                    self.free.remove(worker)
                return True
        return False

    def _begin(self, worker: int) -> None:
        """A worker's first case takes as long as its slowest stage; two cases are read and four written at a time."""
        drawn = [self.rng.lognormvariate(0, 0.3) for _ in range(3)]
        read, infer, write = (
            one * median
            for one, median in zip(drawn, (self.options.read, self.options.infer, self.options.write), strict=True)
        )
        fate = self.rng.random()
        kind = "death" if fate < self.options.deaths else "bad" if fate < self.options.deaths + self.options.bad else ""
        heapq.heappush(self.events, (self.now + max(read / 2, infer, write / 4), worker, kind))

    def receive(self, _: float) -> list[Outcome]:
        """See Pool: the next events, a few at a time, as in a real driver."""
        return [one for _ in range(min(len(self.events), 8)) for one in self._event()]

    def _event(self) -> Iterator[Outcome]:
        self.now, worker, kind = heapq.heappop(self.events)
        queue = self.workers[worker]
        item = queue.popleft()
        if worker not in self.free:
            self.free.append(worker)
        if kind == "death":
            lost, alone = [item, *queue], not queue
            queue.clear()
            for one in lost:
                yield self._lost(one, worker, alone)
            return
        if queue:
            self._begin(worker)
        answer = Answered("", {"mask.nii.gz": "0" * 64}, {"bytes": 1}, {"infer": self.options.infer})
        if kind == "bad":
            yield Outcome(item, f"worker:{worker}", None, REFUSED, "it is damaged")
        else:
            yield Outcome(item, f"worker:{worker}", answer)

    def _lost(self, item: Item, worker: int, alone: bool) -> Outcome:
        fault = BROKEN if alone else SUSPECT
        return Outcome(replace(item, alone=not alone or item.alone), f"worker:{worker}", None, fault, "its worker died")

    def close(self) -> None:
        """There is nothing to close."""


def simulate(options: argparse.Namespace) -> None:
    """How long an archive takes in simulated time, and how much real time the scheduler and the ledger take."""
    pool, seen = Simulated(options), [0]
    with tempfile.TemporaryDirectory(prefix="medseg-cohorts-") as name:
        out = Path(name)
        path = out / "manifest.jsonl"
        write_ledger(path, Ledger(MADE_BY))
        began, before = time.process_time(), psutil.Process().memory_info().rss
        wall = time.perf_counter()
        with closing(Writer(path)) as writer:
            place = Place(out, out, {}, writer, lambda _: seen.__setitem__(0, seen[0] + 1))
            items = (Item(f"case-{number:06}", f"/archive/{number:06}.nii.gz") for number in range(options.cases))
            carry_out(items, pool, 2, place.settled)
        cpu, real = time.process_time() - began, time.perf_counter() - wall
        grown, size = (psutil.Process().memory_info().rss - before) / MIB, path.stat().st_size / MIB
    assert seen[0] == options.cases, "each case is over once"
    slowest = max(options.read / 2, options.infer, options.write / 4)
    paper_h = options.cases * slowest / options.workers / 3600
    rows = [
        ["cases over, each once", str(seen[0])],
        ["simulated time", f"{pool.now / 3600:.2f} h"],
        ["on paper: cases x slowest stage / workers", f"{paper_h:.2f} h"],
        [
            "the driver's own time a case",
            f"{1e3 * cpu / options.cases:.3f} ms of a core, {1e3 * real / options.cases:.2f} ms",
        ],
        ["the driver's memory grew by", f"{grown:.0f} MiB"],
        ["the ledger", f"{size:.0f} MiB"],
    ]
    print(table(["what", f"{options.workers} workers"], rows))


if __name__ == "__main__":
    main()
