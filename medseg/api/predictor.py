"""A pipeline to ask, whether its networks are opened here or it is served elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from json import loads
from pathlib import Path
from threading import Event, local
from typing import TYPE_CHECKING, Any, cast

from medseg import __version__
from medseg.errors import InputError
from medseg.task import Task, Tensors
from medseg.tasks import task_named
from medseg.tasks.streaming import cancellable

if TYPE_CHECKING:
    from medseg.engines.triton import TritonModel

Ask = Callable[[Tensors], Tensors]


@contextmanager
def asking(task: str, runs: Sequence[Path], url: str | None, engine: str, precision: str) -> Iterator[Ask]:
    """The task's pipeline, on runs or on a server, for several threads. Raises InputError for both or neither."""
    if bool(runs) == bool(url):
        raise InputError(
            "--run and --url: got both or neither; expected one: --run for run folders, --url for a server"
        )
    subject = task_named(task)
    if url:
        with _served(url, subject) as ask:
            yield ask
        return
    from medseg.engines.runs import opened
    from medseg.run import Run

    held = [Run(path) for path in runs]
    pipeline = subject.answered_by([run.network for run in held]).pipeline
    left = Event()
    with opened(held, engine, precision) as networks:
        try:
            yield lambda tensors: pipeline(tensors, cancellable(networks, left.is_set))
        finally:
            left.set()  # after Ctrl-C a thread may still be at work: it stops at the next tile or crop


def made_by(task: str, runs: Sequence[Path], url: str | None, engine: str, precision: str) -> dict[str, Any]:
    """What answers are made by, for their files: medseg's version, and the runs with their engine, here or served."""
    from medseg.engines import runs as opened
    from medseg.run import Run

    if url:
        return {"medseg": __version__, "server": url, "served": _told(url, task_named(task))}
    return opened.made_by([Run(path) for path in runs], engine, precision) | {"verified": Run.verify}


def _told(url: str, task: Task) -> dict[str, Any] | str:
    """What a server says of its runs, "unknown" where it says nothing: one that an earlier medseg wrote."""
    from medseg.engines.triton import MADE_BY, served_pipeline

    model = served_pipeline(url, task)
    try:
        told = loads(model.parameters().get(MADE_BY, "null"))
    except ValueError:
        told = None
    finally:
        model.close()
    return told if isinstance(told, dict) else "unknown"


@contextmanager
def _served(url: str, task: Task) -> Iterator[Ask]:
    """The task's ensemble, by a client for each thread; on this machine large inputs go through shared memory."""
    from medseg.engines.triton import is_local, served_pipeline

    own = local()  # Triton's HTTP client must not be shared between threads
    models: list[TritonModel] = []

    def model() -> TritonModel:
        if not hasattr(own, "model"):
            own.model = served_pipeline(url, task, None if is_local(url) else False)
            models.append(own.model)
        return cast("TritonModel", own.model)

    model()  # an address that cannot be used is told before any file is read

    try:
        yield lambda tensors: model().ask(tensors, task.pipeline.outputs)
    finally:
        for one in models:
            one.close()
