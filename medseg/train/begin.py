"""The beginning of a fit: a fit that ends before its first epoch leaves nothing in the way."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medseg.description import DESCRIPTION
from medseg.errors import RunError
from medseg.files import present
from medseg.lock import same_file
from medseg.manifest import MANIFEST
from medseg.run import LAST, PROGRAM, WEIGHTS, Run, refuse_run
from medseg.train.processes import ALONE, Joint

FITTING = ".fitting"  # locked for as long as a fit goes on
_LAST = Path("checkpoints") / "last.ckpt"
# What a fit makes before its first epoch ended, the manifest last: while it is there, the rest is known as a fit's.
_MADE = (DESCRIPTION, "history.csv", "curves.png", "checkpoints", "tensorboard", "wandb", MANIFEST)
_WRITTEN = (*_MADE[:-1], WEIGHTS, LAST, PROGRAM)


@contextmanager
def beginning(out: Path, resume: bool = False, joint: Joint = ALONE) -> Iterator[None]:
    """The folder, for one fit alone. What an earlier fit left that ended or was killed before its first epoch goes.

    Where this one fails before its first epoch ended, all it made goes too, and nothing else: it begins only where
    nothing has a name that it writes. Raises RunError where something has, or another process fits into the folder.
    Only the process that leads the fit does so; the others wait until it has made the run.
    """
    if not joint.leads:
        joint.hear()
        yield
        return
    there = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with (out / FITTING).open("a") as lock:
        _take(lock, out)
        try:
            if not resume:
                _make_room(out)
            with _undone(out, resume):
                yield
        finally:
            (out / FITTING).unlink(missing_ok=True)
            if not there:
                _remove_empty(out)


def _take(lock: IO[str], out: Path) -> None:
    """Lock the open file. Raises RunError where another process has it, or has just removed it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = same_file(lock, out / FITTING)
    except BlockingIOError:
        taken = False
    if not taken:
        raise RunError(f"{out} is being fitted by another process: wait for it, or choose another --out")


def _make_room(out: Path) -> None:
    """Remove what a fit left that ended before its first epoch. Raises RunError where anything else is in the way."""
    if _unlearnt(out):
        _remove(out)
    refuse_run(out)
    if others := present(out, _WRITTEN):
        raise RunError(
            f"{others[0]} does not belong to a run, and a fit would overwrite it; expected a new folder: choose "
            "another --out, or move the file away"
        )


@contextmanager
def _undone(out: Path, resume: bool) -> Iterator[None]:
    """If anything is raised before a new fit ends its first epoch, what it made is removed."""
    try:
        yield
    except BaseException:
        if not resume and not (out / _LAST).is_file():
            _remove(out)
        raise


def _unlearnt(out: Path) -> bool:
    """Whether the folder holds a run of a fit that has not ended an epoch."""
    if not (out / MANIFEST).is_file() or (out / _LAST).is_file():
        return False
    manifest = Run(out).manifest
    fitted = manifest["source"].get("kind") == "train"
    return fitted and "result" not in manifest and manifest["files"].keys() <= {DESCRIPTION}


def _remove(out: Path) -> None:
    for path in present(out, _MADE):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_empty(out: Path) -> None:
    if not any(out.iterdir()):
        out.rmdir()
