"""Folders that a process uses for a while, which are gone afterwards, even where the process is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path


class Scratch(tempfile.TemporaryDirectory[str]):
    """A folder for this process alone, removed when the block is left or the object dropped.

    A killed process removes nothing: its folders go when the next one, of any command, makes one. A lock that the
    kernel holds for a living owner tells them apart, wherever that owner runs.
    """

    def __init__(self, what: str, parent: str | None = None) -> None:
        where = parent or tempfile.gettempdir()
        remove_left(Path(where))
        super().__init__(prefix=f"medseg-{what}.", dir=where)
        while (lock := _locked(Path(self.name), fcntl.LOCK_EX)) is None and not Path(self.name).exists():
            super().__init__(prefix=f"medseg-{what}.", dir=where)  # taken for a dead one's before it was locked
        if lock is not None:
            weakref.finalize(self, os.close, lock)


def remove_left(where: Path | None = None) -> None:
    """Remove those folders of this user whose owners have ended, where temporary files lie if nothing else is said."""
    for folder in (where or _usual()).glob("medseg-*.*"):
        lock = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _usual() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # nothing can be written anywhere: what needs to will say so
        return Path(os.devnull)


def _locked(folder: Path, how: int) -> int | None:
    """What holds the lock on a folder of this user until it is closed; None where it cannot be had."""
    try:
        found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(found, how)
        opened, there = os.fstat(found), folder.stat()
        if opened.st_uid == os.geteuid() and opened.st_ino == there.st_ino:
            return found
    except OSError:
        pass
    os.close(found)
    return None
