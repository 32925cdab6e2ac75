"""Cases: a task's data folder, or a file, as requests to any target; scored where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.task import Reading, Source, Task, Tensors, Unread
from medseg.tasks.scorer import Scorer

PHANTOMS = 4  # made-up patients where no data is given
PICTURES = 4  # worst rows shown


def cases_of(task: Task, data: Path) -> list[Unread]:
    """Every case of a data folder, or of a file, whose truth is not known; each with what a benchmark asks for.

    Raises InputError where there is none.
    """
    if not data.exists():
        raise InputError(f"{data} does not exist; expected a data folder of {task.name}, or one of its files")
    found = _of_folder(task, data) if data.is_dir() and task.data else _of_files(task, data)
    if not found:
        raise InputError(f"{data} holds no cases of {task.name}; expected its native layout: try `medseg data check`")
    return [replace(case, ask=partial(_asked, task, case.ask)) for case in found]


def made_up(task: Task, folder: Path) -> Path:
    """The folder, filled with made-up patients where it does not exist yet."""
    if not folder.exists():
        layout = task.known_data("measure made-up patients: give a file, or a folder of them")
        folder.mkdir(parents=True)
        layout.phantom(folder, PHANTOMS, 0)
    return folder


def scorer_of(task: Task, data: Path, cases: Sequence[Unread], keep: Collection[str] | int = PICTURES) -> Scorer | None:
    """The scorer of a target's answers to these cases; None if the task has no scores or no case has a known truth.

    `keep` are the rows whose answers will be drawn, or how many of the worst.
    """
    if task.scoring is None or not any(case.known for case in cases):
        return None
    return Scorer(task, data, cases, task.scoring.measured, keep)


def _of_folder(task: Task, data: Path) -> list[Unread]:
    layout = task.known_data("be measured on a data folder")
    return [case for patient in layout.patients(data) for case in layout.cases(data, patient)]


def _of_files(task: Task, data: Path) -> list[Unread]:
    return [Unread(one.name, partial(_loaded, one), _files(one.path)) for one in task.files.sources(data, Reading())]


def _loaded(source: Source) -> Tensors:
    return source.load().tensors


def _files(path: Path) -> tuple[Path, ...]:
    """A source's files: those of the folder, or the file and the files beside it with the same name."""
    found = path.iterdir() if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    return tuple(sorted(file for file in found if file.is_file()))


def _asked(task: Task, ask: Callable[[], Tensors]) -> Tensors:
    """A case's tensors, with the outputs and the options that a benchmark asks for."""
    more = task.scoring.measured if task.scoring else {}
    options = {name: np.array([value]).astype(task.pipeline.tensor(name).dtype) for name, value in more.items()}
    outputs = [name.encode() for name in task.files.measured]
    wanted = {"wanted": np.array(outputs, object)} if outputs else {}
    return ask() | options | wanted
