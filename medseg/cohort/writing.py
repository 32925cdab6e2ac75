"""A case's answer written to a scratch folder, on the disk and known by its bytes, before it has its place."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from medseg.cohort.case import Work
from medseg.cohort.remote import sent
from medseg.files import sha256
from medseg.task import Request, Task, Tensors

ARRAYS = "answer.npz"  # the outputs that scores are made of
ANSWERS = "answers"  # the folder of the cohort's folder in which each case has its own


def written(task: Task, work: Work, request: Request, answer: Tensors) -> tuple[str, dict[str, str]]:
    """The scratch folder's name, or the address that answers went to, and each file with its sha256.

    Nothing is left where it cannot be written.
    """
    folder = Path(work.scratch) / secrets.token_hex(8)
    folder.mkdir()  # not its parent: where that is gone, so is who would take the answer
    try:
        task.files.write(request, answer, folder)
        if work.arrays:
            np.savez_compressed(folder / ARRAYS, **kept(task, answer))
        files = synced(folder)
        if work.upload:
            sent(folder, f"{work.upload}/{ANSWERS}/{request.name}")
            shutil.rmtree(folder)
        return "" if work.upload else folder.name, files
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def kept(task: Task, answer: Tensors) -> dict[str, Any]:
    """The outputs that scores are made of, without the texts, which no score needs."""
    names = task.files.measured or task.pipeline.outputs
    return {name: answer[name] for name in names if answer[name].dtype != object}


def synced(folder: Path) -> dict[str, str]:
    """Each file below a folder with its sha256, sorted, all of them on the disk."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            sync(path)
            found[path.relative_to(folder).as_posix()] = sha256(path)
        sync(Path(root))
    return dict(sorted(found.items()))


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
