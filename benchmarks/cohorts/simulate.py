"""An archive in simulated time: made-up outcomes through the real scheduler and ledger."""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil

from medseg import __version__
from medseg.bench.show.tables import table
from medseg.cohort.case import BROKEN, REFUSED, SUSPECT, Answered, Item, Outcome
from medseg.cohort.ledger import Ledger, Writer, write_ledger
from medseg.cohort.place import Place
from medseg.cohort.schedule import carry_out

MIB = 2**20
MADE_BY = {"medseg": __version__, "engine": "none", "precision": "fp32", "runs": []}


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
