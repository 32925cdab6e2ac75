"""Questions: a task's data folder as cases that any target can be asked, with their scores where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from medseg.bench.target import Question
from medseg.errors import InputError
from medseg.task import Task, Tensors

PHANTOMS = 4


def questions(task: Task, data: Path) -> list[Question]:
    """Every case of a data folder, or the one case in a file. Raises InputError where there is none."""
    found = _MAKERS[task.name](data)
    if not found:
        raise InputError(f"{data} holds no cases of {task.name}; expected its native layout: try `medseg data check`")
    return found


def made_up(task: Task, folder: Path) -> Path:
    """The folder, filled with made-up patients where it does not exist yet."""
    if not folder.exists():
        folder.mkdir(parents=True)
        task.phantom(folder, PHANTOMS, 0)
    return folder


def _luna(data: Path) -> list[Question]:
    from medseg.tasks.luna.tables import scans

    paths = sorted(scans(data).values()) if data.is_dir() else [data]
    return [Question(path.stem, partial(_ct, path), _mhd_files(path)) for path in paths]


def _ct(path: Path) -> Tensors:
    from medseg.data.volume import read_volume
    from medseg.tasks.luna.pipeline import geometry_tensor

    volume = read_volume(path)
    return {"ct": volume.array, "geometry": geometry_tensor(volume.geometry), "threshold": np.array([0.5], np.float32)}


def _mhd_files(path: Path) -> tuple[Path, ...]:
    return tuple(file for suffix in (path.suffix, ".raw", ".zraw") if (file := path.with_suffix(suffix)).is_file())


_MAKERS: dict[str, Callable[[Path], list[Question]]] = {"luna": _luna}
