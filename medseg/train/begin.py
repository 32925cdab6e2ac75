"""The beginning of a fit: one that ends before it learnt anything is in nobody's way."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.description import DESCRIPTION
from medseg.errors import RunError
from medseg.manifest import MANIFEST
from medseg.run import WEIGHTS, Run
from medseg.train.settings import leads

FITTING = ".fitting"  # locked for as long as a fit goes on
_LAST = Path("checkpoints") / "last.ckpt"
_MADE = (MANIFEST, DESCRIPTION, "history.csv", "curves.png", "checkpoints", "tensorboard", "wandb", FITTING)


@contextmanager
def beginning(out: Path, resume: bool = False) -> Iterator[None]:
    """The folder, for one fit alone. What an earlier fit left that ended or was killed before its first epoch goes.

    Where this one fails before its first epoch ended, all it made goes too. Raises RunError where another process fits
    into the folder.
    """
    if not leads():
        yield
        return
    there = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with (out / FITTING).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{out} is being fitted by another process: wait for it, or choose another --out") from None
        if _unlearnt(out) and not resume:
            _remove(out, keep=(FITTING,))
        held = (out / MANIFEST).exists()
        try:
            yield
        except BaseException:
            if not held and not (out / _LAST).is_file():
                _remove(out)
                if not there:
                    _remove_empty(out)
            raise
        finally:
            (out / FITTING).unlink(missing_ok=True)


def _unlearnt(out: Path) -> bool:
    """Whether the folder holds a run of a fit that has not ended an epoch."""
    if not (out / MANIFEST).is_file() or (out / _LAST).is_file():
        return False
    manifest = Run(out).manifest
    return manifest["source"].get("kind") == "train" and "result" not in manifest and WEIGHTS not in manifest["files"]


def _remove(out: Path, keep: tuple[str, ...] = ()) -> None:
    for name in _MADE:
        if name in keep:
            continue
        if (out / name).is_dir():
            shutil.rmtree(out / name, ignore_errors=True)
        else:
            (out / name).unlink(missing_ok=True)


def _remove_empty(out: Path) -> None:
    if not any(out.iterdir()):
        out.rmdir()
