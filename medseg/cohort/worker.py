"""What a worker's process does: cases come down a pipe, and are read, answered and written side by side.

While one case is at inference the next is read and the last one written. How many cases are here at a time is decided
by who sends them, so memory is bounded.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

from medseg.api.predictor import Predictor
from medseg.cohort.case import Item, Work
from medseg.cohort.stages import INFER, READ, WRITE, Asked, Stages, here
from medseg.engines import named
from medseg.engines.runs import cores
from medseg.errors import MedsegError, RunError, ServerError
from medseg.run import Run

READERS, WRITERS = 2, 4  # cases that are read and written at a time: a writer mostly waits for the disk
AHEAD = 2, 6  # cases beyond those at inference, of volumes and of pictures: some are read, some are written

Tell = Callable[..., None]


def main(descriptor: int) -> None:
    """Answer what comes down the pipe until it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends the pipe
    pipe: Connection[Any, Any] = Connection(descriptor)
    tell = partial(_tell, pipe, Lock())
    work: Work = pipe.recv()
    if work.cores:
        os.sched_setaffinity(0, work.cores)
    Run.verify = work.verify
    try:
        with opened(work) as predictor:
            at_once = concurrency(work, predictor)
            tell("ready", at_once + AHEAD[not predictor.task.files.volumes], here())
            _serve(pipe, tell, Stages(work, predictor), at_once)
    except (MedsegError, OSError) as error:
        tell("cannot", str(error), isinstance(error, ServerError))
        sys.exit(1)


def _tell(pipe: Connection[Any, Any], lock: Lock, *message: object) -> None:
    """Say something to the driver; where it is there no more, end."""
    try:
        with lock:
            pipe.send(message)
    except OSError:
        os._exit(0)


@contextmanager
def opened(work: Work) -> Iterator[Predictor]:
    """What answers. Raises RunError where its answers would be made by something else than was expected."""
    if not Path(work.scratch).is_dir():
        raise RunError(
            f"{socket.gethostname()} does not see {work.scratch}; expected --out in a folder that all nodes share, or "
            "--out with an address"
        )
    opener: Callable[..., Any] = named(work.opener)
    with opener(work.task, work.runs, work.url, work.engine, work.precision) as predictor:
        about, expected = told(predictor), work.expected or {}
        for name in (name for name in expected if about.get(name) != expected[name]):
            raise RunError(
                f"{work.url or socket.gethostname()} answers with another {name} than at the start of the cohort; "
                "expected the same everywhere: install or serve the same there"
            )
        yield predictor


def told(predictor: Predictor) -> dict[str, Any]:
    """What answers are made by, but for where that is."""
    return {key: value for key, value in predictor.made_by.items() if key != "server"}


def concurrency(work: Work, predictor: Predictor) -> int:
    """How many cases are at inference at a time: a picture keeps one core busy, a volume all of them."""
    if work.concurrency:
        return work.concurrency
    if work.url:
        return 2 if predictor.task.files.volumes else 4
    return 1 if predictor.task.files.volumes else cores()


def _serve(pipe: Connection[Any, Any], tell: Tell, stages: Stages, at_once: int) -> None:
    """Take cases and send each through the stages; returns never, for the driver ends the pipe."""
    pools = {READ: ThreadPoolExecutor(READERS), INFER: ThreadPoolExecutor(at_once), WRITE: ThreadPoolExecutor(WRITERS)}
    order = list(pools)

    def step(number: int, asked: Asked, given: Any) -> None:
        stage = order[number]
        tell("stage", asked.item.name, stage)
        began = perf_counter()
        try:
            found = stages.of(stage, asked)(given)
        except BaseException as error:  # whatever is raised stops this case alone
            asked.seconds[stage] = perf_counter() - began
            tell("outcome", stages.failed(asked, error))
            return
        asked.seconds[stage] = perf_counter() - began
        if stage == WRITE:
            tell("outcome", stages.done(asked, found))
            return
        tell("stage", asked.item.name, "")
        pools[order[number + 1]].submit(step, number + 1, asked, found)

    while True:
        try:
            item: Item = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # the driver ended or let go of us; a case that hangs would keep us for ever
        pools[READ].submit(step, 0, Asked(item), None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
