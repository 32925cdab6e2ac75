"""A worker's process: cases arrive through a pipe, and are read, answered and written side by side.

While one case is at inference, the next one is read and the previous one is written. The driver limits the number of
cases that a worker has at a time, so memory is bounded.
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

READERS, WRITERS = 2, 4  # cases that are read, and that are written, at a time; writers mostly wait for the disk
AHEAD = 2, 6  # cases besides those at inference, for volumes and for pictures

Tell = Callable[..., None]


def main(descriptor: int) -> None:
    """Answer the cases that arrive through the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which closes the pipe
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
    """Send a message to the driver; if the driver is gone, exit."""
    try:
        with lock:
            pipe.send(message)
    except OSError:
        os._exit(0)


@contextmanager
def opened(work: Work) -> Iterator[Predictor]:
    """The predictor. Raises RunError if it differs from `work.expected`, or if this node lacks the scratch folder."""
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
    """What makes the answers, without the server's address."""
    return {key: value for key, value in predictor.made_by.items() if key != "server"}


def concurrency(work: Work, predictor: Predictor) -> int:
    """How many cases are at inference at a time: a picture keeps one core busy, a volume all of them."""
    if work.concurrency:
        return work.concurrency
    if work.url:
        return 2 if predictor.task.files.volumes else 4
    return 1 if predictor.task.files.volumes else cores()


def _serve(pipe: Connection[Any, Any], tell: Tell, stages: Stages, at_once: int) -> None:
    """Take cases and send each through the stages. Never returns: the process exits when the pipe is closed."""
    pools = {READ: ThreadPoolExecutor(READERS), INFER: ThreadPoolExecutor(at_once), WRITE: ThreadPoolExecutor(WRITERS)}
    order = list(pools)

    def step(number: int, asked: Asked, given: Any) -> None:
        stage = order[number]
        tell("stage", asked.item.name, stage)
        began = perf_counter()
        try:
            found = stages.of(stage, asked)(given)
        except BaseException as error:  # any error ends only this case
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
            os._exit(0)  # the driver ended or closed the pipe; exit at once, because a case may hang for ever
        pools[READ].submit(step, 0, Asked(item), None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
