"""Files through a pipeline, several at a time: answers are written in order; a bad file does not stop the others."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medseg.api.answer import Answer
from medseg.api.predictor import Ask, open_predictor
from medseg.api.sources import Destination
from medseg.errors import InputError, bare
from medseg.run import Run
from medseg.task import Request, Source, Task, Tensors

_LOOK_S = 0.5  # how long the main thread waits at a time


def predict(
    task: str,
    inputs: Sequence[Path | str] | Path | str,
    runs: Sequence[Run | Path | str] = (),
    url: str | None = None,
    engine: str = "openvino",
    precision: str = "fp32",
    **options: float | str,
) -> list[Answer]:
    """The answers to everything in files and folders, in their order, in memory; see open_predictor for the rest.

    `options` are the task's, as `medseg info TASK` lists them. Raises InputError for the first source that cannot be
    answered; to continue with the others, ask a predictor source by source.

    >>> import medseg
    >>> (answer,) = medseg.predict("luna", "ct.mhd", runs=["runs/luna-segment", "runs/luna-nodule"], threshold=0.3)
    >>> [path.name for path in answer.save("answers")]
    ['nodules.csv', 'nodules.json', 'mask.nii.gz', 'nodules.png']
    """
    paths = [inputs] if isinstance(inputs, Path | str) else inputs
    with open_predictor(task, runs, url, engine, precision) as predictor:
        return [predictor.answer(source, **options) for source in predictor.sources(*paths)]


@dataclass(frozen=True)
class Asked:
    """How every source is asked: number of threads, values of the optional tensors, and what the answer records."""

    concurrency: int = 1
    options: Mapping[str, float | str] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)  # see Request
    extras: tuple[str, ...] = ()  # see Request


@dataclass(frozen=True)
class Waiting:
    """A request that is being computed; answers are taken in order."""

    request: Request
    answer: Future[Tensors | InputError]


def predictions(
    task: Task,
    sources: Sequence[Source | InputError],
    ask: Ask,
    where: Destination,
    asked: Asked,
) -> Iterator[tuple[str, list[Path]]]:
    """Each source's name and the files written for it.

    `ask` is called by several threads. A bad file is reported on stderr and the others continue; at the end an
    InputError counts the bad ones. If there is only one file, its own error is raised.
    """
    failed = 0
    with tqdm(total=len(sources), unit="file", disable=None, leave=False) as bar:
        for one in _in_flight(task, sources, ask, asked):
            try:
                yield _written(task, one, where)
            except InputError as error:
                if len(sources) == 1:
                    raise
                failed += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
            bar.update()
    if failed:
        raise InputError(f"{failed} of {len(sources)} files could not be answered; each has its own error above")


def _in_flight(
    task: Task, sources: Sequence[Source | InputError], ask: Ask, asked: Asked
) -> Iterator[Waiting | InputError]:
    """The sources in their order, a few of them asked ahead. Never all are read, because each may be a whole CT."""
    known = task.optional_tensors(asked.options)
    pool = ThreadPoolExecutor(asked.concurrency)
    waiting: deque[Waiting | InputError] = deque()
    try:
        for source in sources:
            request = _loaded(source, asked)
            if isinstance(request, InputError):
                waiting.append(request)
            else:
                waiting.append(Waiting(request, pool.submit(_asked, ask, dict(request.tensors) | known)))
            if len(waiting) >= asked.concurrency:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # all are done, or nobody waits for them any more


def _loaded(source: Source | InputError, asked: Asked) -> Request | InputError:
    if isinstance(source, InputError):
        return source
    try:
        request = source.load()
        return replace(request, name=source.name, made_by=asked.made_by, extras=asked.extras, tell=_tell)
    except InputError as error:
        return bare(error)


def _tell(note: str) -> None:
    tqdm.write(f"note: {note}", file=sys.stderr)


def _asked(ask: Ask, tensors: Tensors) -> Tensors | InputError:
    try:
        return ask(tensors)
    except InputError as error:
        return bare(error)


def _awaited(answer: Future[Tensors | InputError]) -> Tensors | InputError:
    """The answer, or its error. Waits are short: a Ctrl-C just before a wait is noticed only after it."""
    while not answer.done():
        wait([answer], _LOOK_S)
    return answer.result()


def _written(task: Task, one: Waiting | InputError, where: Destination) -> tuple[str, list[Path]]:
    """Write an answer, and delete the other files of an earlier answer of this name."""
    if isinstance(one, InputError):
        raise one
    name = one.request.name
    for note in one.request.notes:
        _tell(note)
    answer = _awaited(one.answer)
    if isinstance(answer, InputError):
        raise InputError(f"{name}: {answer}")
    folder = where.of(name)
    folder.mkdir(parents=True, exist_ok=True)
    written = task.files.write(one.request, answer, folder)
    for old in set(task.files.answered(name, folder)) - set(written):
        old.unlink()
    return name, written
