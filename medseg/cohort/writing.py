"""Writes a case's answer to a scratch folder, waits until it is on the disk, and computes each file's sha256."""

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

ARRAYS = "answer.npz"  # the outputs that scores need
ANSWERS = "answers"  # the folder below the cohort's folder in which each case has a folder of its own


def written(task: Task, work: Work, request: Request, answer: Tensors) -> tuple[str, dict[str, str]]:
    """Write an answer. Returns its folder's name in scratch ("" if it was uploaded), and each file with its sha256.

    If it cannot be written, nothing is left behind.
    """
    folder = Path(work.scratch) / secrets.token_hex(8)
    folder.mkdir()  # not its parent: if that is gone, the driver is gone too
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
    """The outputs that scores need, without texts, which no score needs."""
    names = task.files.measured or task.pipeline.outputs
    return {name: answer[name] for name in names if answer[name].dtype != object}


def synced(folder: Path) -> dict[str, str]:
    """Wait until all files below a folder are on the disk; each with its sha256, sorted."""
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
