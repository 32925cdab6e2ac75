"""A cohort's workers: processes on this machine, some of which use servers, or actors on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from medseg.cohort.case import Pool, Work
from medseg.cohort.local import Local
from medseg.errors import InputError
from medseg.tasks import task_named

LOCAL = "local"
_MOST = 8  # workers on this machine if none are asked for: each holds its own copy of the networks


@dataclass(frozen=True)
class Workers:
    """The number of workers, and where they are."""

    address: str = LOCAL  # local, auto or ray://HOST:PORT
    workers: int | None = None  # None: one per GPU or per server, else `usual` here, or one per node
    gpus: int = 0
    urls: Sequence[str] = ()
    timeout_s: float | None = None  # for the work on one case

    def open(self, work: Work) -> Pool:
        """Open the workers. Raises InputError if there is no such address, PackageError without Ray."""
        if self.address != LOCAL:
            from medseg.cohort.on_ray import Actors

            return Actors(work, self.address, self.workers, self.gpus, self.timeout_s)
        return Local(list(self._works(work)), self.timeout_s)

    def _works(self, work: Work) -> Iterator[Work]:
        """Each worker's Work: with its server, its GPU, or its share of the cores."""
        cores = sorted(os.sched_getaffinity(0))
        count = self.workers or len(self.urls) or self.gpus or usual(work.task)
        for number in range(count):
            if self.urls:
                yield replace(work, url=self.urls[number % len(self.urls)])
            elif self.gpus:
                yield replace(work, environment={"CUDA_VISIBLE_DEVICES": str(number % self.gpus)})
            else:
                share = cores[number::count] or cores[number % len(cores) :][:1]
                yield replace(work, cores=tuple(share) if count > 1 else ())


def usual(task: str) -> int:
    """The number of workers on this machine if none is asked for.

    Pictures take Python itself as much time as their networks, so each core gets a worker. Volumes take memory.
    """
    return 1 if task_named(task).files.volumes else min(len(os.sched_getaffinity(0)), _MOST)


def check(workers: Workers, work: Work) -> None:
    """Raise InputError for workers that contradict each other."""
    if bool(work.runs) == bool(workers.urls):
        raise InputError("--run and --url: got both or neither; expected run folders, or servers' addresses")
    if workers.urls and workers.gpus:
        raise InputError("--url and --gpus: got both; a server has its own GPUs: leave --gpus out")
    if workers.urls and workers.address != LOCAL:
        raise InputError("--url and --address: got both; servers are asked from here: leave --address out")
    if workers.workers and workers.urls and workers.workers < len(workers.urls):
        raise InputError(f"--workers is {workers.workers}; expected at least one for each of {len(workers.urls)} --url")
