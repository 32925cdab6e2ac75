"""Several runs' outlines over the same image, for `medseg predict --overlay`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.cli.asking import Ask, asking
from medseg.cli.evaluation import lineups
from medseg.data.grid import png
from medseg.data.picture import compared
from medseg.run import Run
from medseg.task import Request, Task
from medseg.tasks import TASKS, task_named


def overlays(task: str, path: Path, runs: Sequence[Path], how: tuple[str, str], out: Path) -> Iterator[Path]:
    """Write NAME_runs.png for each request of a file or folder: every run's, or lineup's, outlines in its own colour.

    `how` is the engine and the precision. Runs compete where one can answer alone; LUNA's chain answers together.
    """
    subject = task_named(task)
    groups = lineups([Run(run) for run in runs], alone=subject.pipeline_of is not None)
    with ExitStack() as stack:
        asks = {
            name: stack.enter_context(asking(task, [run.path for run in group], None, *how))
            for name, group in groups.items()
        }
        for request in subject.requests(path):
            out.mkdir(parents=True, exist_ok=True)
            target = out / f"{request.name}_runs.png"
            target.write_bytes(_picture(subject, request, asks))
            yield target


def _picture(task: Task, request: Request, asks: dict[str, Ask]) -> bytes:
    score: Any = import_module(f"{TASKS[task.name]}.score")
    cases = [score.case_of(request)]
    masks = {name: score.masks(cases, [ask(request.tensors)]) for name, ask in asks.items()}
    return png(compared(score.views(cases, masks)))
