"""Several runs' outlines over the same image, for `medseg predict --overlay`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.cli.evaluation import lineups
from medseg.data.grid import png
from medseg.data.picture import compared
from medseg.engines.runs import opened
from medseg.run import Run
from medseg.task import Networks, Request, Task
from medseg.tasks import TASKS, task_named


def overlays(task: str, path: Path, runs: Sequence[Path], how: tuple[str, str], out: Path) -> Iterator[Path]:
    """Write NAME_runs.png for each request of a file or folder: every run's, or lineup's, outlines in its own colour.

    `how` is the engine and the precision. Runs of one network compete, runs of different networks answer together.
    """
    subject = task_named(task)
    assert subject.requests is not None
    with ExitStack() as stack:
        chosen = lineups([Run(run) for run in runs])
        networks = {name: stack.enter_context(opened(group, *how)) for name, group in chosen.items()}
        for request in subject.requests(path):
            out.mkdir(parents=True, exist_ok=True)
            target = out / f"{request.name}_runs.png"
            target.write_bytes(_picture(subject, request, networks))
            yield target


def _picture(task: Task, request: Request, networks: dict[str, Networks]) -> bytes:
    score: Any = import_module(f"{TASKS[task.name]}.score")
    cases = [score.case_of(request)]
    masks = {name: score.masks(cases, [task.pipeline(request.tensors, found)]) for name, found in networks.items()}
    return png(compared(score.views(cases, masks)))
