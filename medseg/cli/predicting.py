"""Files through a pipeline, several in flight: their answers are written in order, and a bad file stops no other."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medseg.cli.asking import Ask
from medseg.errors import InputError
from medseg.task import Request, Task, Tensors


@dataclass(frozen=True)
class Asked:
    """A request on its way: its answer is awaited in its turn."""

    request: Request
    answer: Future[Tensors]


def predictions(
    task: Task, inputs: Sequence[Path], ask: Ask, out: Path, options: Mapping[str, float], concurrency: int = 1
) -> Iterator[tuple[str, list[Path]]]:
    """Each request's name and the files written for it: into `out`; several volumes get a folder each.

    `ask` is called by `concurrency` threads. A bad file is told on stderr and the others go on; at the end InputError
    counts the bad ones. Where there is only one file, its own error is raised.
    """
    known = {name: np.array([value]).astype(task.pipeline.tensor(name).dtype) for name, value in options.items()}
    stream = _requests(task, inputs)
    first = list(islice(stream, 2))  # never all of them: each may hold a whole CT
    several, failed, count = len(first) > 1, 0, 0
    total = len(inputs) if all(path.is_file() for path in inputs) else None
    with tqdm(total=total, unit="file", disable=None, leave=False) as bar:
        for one in _asked(chain(first, stream), ask, known, concurrency):
            count += 1
            try:
                yield _written(task, one, out, several)
            except InputError as error:
                if not several:
                    raise
                failed += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
            bar.update()
    if failed:
        raise InputError(f"{failed} of {count} files could not be answered; each has its own error above")


def _requests(task: Task, inputs: Sequence[Path]) -> Iterator[Request | InputError]:
    """The requests of every file or folder; in the place of one that cannot be read, why."""
    for path in inputs:
        try:
            stream = iter(task.requests(path))
        except InputError as error:
            yield error
            continue
        while True:
            try:
                yield next(stream)
            except StopIteration:
                break
            except InputError as error:
                yield error


def _asked(
    requests: Iterator[Request | InputError], ask: Ask, known: Tensors, concurrency: int
) -> Iterator[Asked | InputError]:
    """The requests in their order, so many of them asked ahead."""
    pool = ThreadPoolExecutor(concurrency)
    waiting: deque[Asked | InputError] = deque()
    try:
        for request in requests:
            if isinstance(request, Request):
                waiting.append(Asked(request, pool.submit(ask, dict(request.tensors) | known)))
            else:
                waiting.append(request)
            if len(waiting) >= concurrency:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


def _written(task: Task, one: Asked | InputError, out: Path, several: bool) -> tuple[str, list[Path]]:
    if isinstance(one, InputError):
        raise one
    name = one.request.name
    for note in getattr(one.request.source, "notes", ()):
        tqdm.write(f"note: {note}", file=sys.stderr)
    try:
        answer = one.answer.result()
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    folder = out / name if several and task.volumes else out
    folder.mkdir(parents=True, exist_ok=True)
    return name, task.write(one.request, answer, folder)
