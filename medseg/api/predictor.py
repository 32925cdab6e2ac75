"""A task's pipeline, open: its networks in this process, or on a server elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path
from threading import Event
from typing import Any

from medseg import __version__
from medseg.api.answer import Answer
from medseg.api.sources import found
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Reading, Source, Task, Tensors
from medseg.tasks import task_as, task_named
from medseg.tasks.streaming import cancellable

AS_FILED = Reading()

Ask = Callable[[Tensors], Tensors]


@dataclass(frozen=True)
class Predictor:
    """A task's pipeline, open; several threads may ask it at once.

    `ask` takes the pipeline's inputs and gives its outputs, numpy arrays by name. `made_by` says which version, runs,
    engine and precision answer.

    >>> import medseg
    >>> with medseg.open_predictor("luna", runs=["runs/luna-segment", "runs/luna-nodule"]) as predictor:
    ...     answers = [predictor.answer(source, roi="lungs") for source in predictor.sources("ct.mhd")]
    >>> [(answer.name, answer.mask.shape) for answer in answers]
    [('ct', (48, 192, 192))]
    """

    task: Task
    ask: Ask
    made_by: Mapping[str, Any]

    def sources(self, *paths: Path | str, reading: Reading = AS_FILED) -> list[Source]:
        """All sources in these files and folders, under different names; only headers are read.

        Raises InputError for a path that cannot be used, or where two sources are the same.
        """
        listed = found(self.task, [Path(path) for path in paths], reading)
        for one in listed:
            if isinstance(one, InputError):
                raise one
        return [one for one in listed if isinstance(one, Source)]

    def answer(self, source: Source | Path | str, **options: float | str) -> Answer:
        """The answer to a source, or to the one source in a path; `options` as `medseg info TASK` lists them.

        Raises InputError where it cannot be read, is not what the pipeline takes, or a path holds several.
        """
        one = source if isinstance(source, Source) else self._only(Path(source))
        about = dict(self.made_by) | {"options": dict(options)}
        request = replace(one.load(), name=one.name, made_by=about)
        return Answer(self.task, request, self.ask(dict(request.tensors) | self.task.optional_tensors(options)))

    def _only(self, path: Path) -> Source:
        sources = self.sources(path)
        if len(sources) != 1:
            raise InputError(f"{path} holds {len(sources)} sources; expected one: ask each of `sources(path)`")
        return sources[0]


@contextmanager
def open_predictor(
    task: str,
    runs: Sequence[Run | Path | str] = (),
    url: str | None = None,
    engine: str = "openvino",
    precision: str = "fp32",
) -> Iterator[Predictor]:
    """The task's pipeline on runs, one for each of its networks, or on a server of `medseg serve`; closed at the end.

    Raises InputError for both or neither, RunError where a run is missing or lacks the engine's file, ServerError where
    no server answers.

    >>> import medseg
    >>> with medseg.open_predictor("luna", ["runs/luna-segment", "runs/luna-nodule"], precision="fp32") as predictor:
    ...     predictor.answer("ct.mhd").geometry.spacing_mm
    (1.2779, 1.2779, 2.52)
    """
    if bool(runs) == bool(url):
        raise InputError("--run and --url: got both or neither; expected run folders, or a server's address")
    opener = _served(served_as(task, url), url) if url else _opened(task_named(task), runs, engine, precision)
    with opener as predictor:
        yield predictor


@contextmanager
def _opened(task: Task, runs: Sequence[Run | Path | str], engine: str, precision: str) -> Iterator[Predictor]:
    from medseg.engines.runs import as_runs, made_by, opened

    held = as_runs(runs)
    concrete = task_as(task.name, held)
    left = Event()
    with opened(held, engine, precision) as networks:
        about = made_by(held, engine, precision) | {"verified": Run.verify}
        try:
            yield Predictor(
                concrete, lambda tensors: concrete.pipeline(tensors, cancellable(networks, left.is_set)), about
            )
        finally:
            left.set()  # after Ctrl-C a thread may still be working: it stops at the next tile or crop


def served_as(name: str, url: str) -> Task:
    """The task of this name; if a server's runs describe it, as they do."""
    from medseg.engines.triton import served_task

    return served_task(url, task_named(name))


@contextmanager
def _served(task: Task, url: str) -> Iterator[Predictor]:
    """The task's ensemble; on this machine large inputs go through shared memory."""
    from medseg.engines.clients import Clients
    from medseg.engines.triton import is_local, served_pipeline

    with Clients(lambda: served_pipeline(url, task, None if is_local(url) else False)) as clients:
        about = {"medseg": __version__, "server": url, "served": _told(clients.mine().parameters())}
        yield Predictor(task, lambda tensors: clients.mine().ask(tensors, task.pipeline.outputs), about)


def _told(parameters: Mapping[str, str]) -> dict[str, Any] | str:
    """What a server says about its runs; "unknown" where an earlier medseg wrote it and it says nothing."""
    from medseg.engines.triton import MADE_BY

    try:
        told = loads(parameters.get(MADE_BY, "null"))
    except ValueError:
        told = None
    return told if isinstance(told, dict) else "unknown"
