"""A pipeline to ask, whether its networks are opened here or it is served elsewhere; and files through it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.task import Task, Tensors
from medseg.tasks import task_named

Ask = Callable[[Tensors], Tensors]


@contextmanager
def asking(task: str, runs: Sequence[Path], url: str | None, engine: str, precision: str) -> Iterator[Ask]:
    """The task's pipeline, on runs or on a server. Raises InputError where both or neither are given."""
    if bool(runs) == bool(url):
        raise InputError(
            "--run and --url: got both or neither; expected one: --run for run folders, --url for a server"
        )
    subject = task_named(task)
    pipeline = subject.pipeline
    if url:
        from medseg.engines.triton import served_pipeline

        model = served_pipeline(url, subject)
        try:
            yield lambda tensors: model.ask(tensors, pipeline.outputs)
        finally:
            model.close()
        return
    from medseg.engines.runs import opened
    from medseg.run import Run

    with opened([Run(path) for path in runs], engine, precision) as networks:
        yield lambda tensors: pipeline(tensors, networks)


def predictions(
    task: str, inputs: Sequence[Path], ask: Ask, out: Path, options: Mapping[str, float]
) -> Iterator[tuple[str, list[Path]]]:
    """Each input's name and the files written for it: into `out`; several volumes get a folder each.

    A bad input is told on stderr and the others go on; at the end InputError counts the bad ones.
    """
    subject = task_named(task)
    failed = []
    for path in inputs:
        try:
            yield from _answers(subject, path, ask, out, options, len(inputs) > 1)
        except InputError as error:
            if len(inputs) == 1:
                raise
            failed.append(path)
            print(f"error: {error}", file=sys.stderr)
    if failed:
        raise InputError(f"{len(failed)} of {len(inputs)} inputs could not be answered; each has its own error above")


def _answers(
    task: Task, path: Path, ask: Ask, out: Path, options: Mapping[str, float], several: bool
) -> Iterator[tuple[str, list[Path]]]:
    known = {name: np.array([value]).astype(task.pipeline.tensor(name).dtype) for name, value in options.items()}
    requests = list(islice(stream := task.requests(path), 2))  # never all of them: each may hold a whole CT
    several = several or len(requests) > 1
    for request in chain(requests, stream):
        for note in getattr(request.source, "notes", ()):
            print(f"note: {note}", file=sys.stderr)
        answer = ask(dict(request.tensors) | known)
        folder = out / request.name if several and task.volumes else out
        folder.mkdir(parents=True, exist_ok=True)
        yield request.name, task.write(request, answer, folder)
