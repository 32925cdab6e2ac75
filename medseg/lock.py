"""A lock on a folder: one process at a time changes what is in it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medseg.errors import RunError

LOCK = ".lock"
_PATIENCE_S = 60.0
_PAUSE_S = 0.05


@contextmanager
def locked(folder: Path, name: str = LOCK, patience_s: float | None = None) -> Iterator[None]:
    """The folder, locked against other processes; a lock of a process that ended, however it ended, is free.

    Raises RunError naming the owner and the lock's age where another process keeps it too long. Locks of different
    names are for different things in the folder.
    """
    file = _taken(folder / name, _PATIENCE_S if patience_s is None else patience_s)
    try:
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    finally:
        (folder / name).unlink(missing_ok=True)
        file.close()


def _taken(path: Path, patience_s: float) -> IO[str]:
    """The lock file, open and ours."""
    deadline = time.monotonic() + patience_s
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if same_file(file, path):
                file.truncate(0)
                return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunError(_held(file, path, patience_s)) from None
        file.close()
        time.sleep(_PAUSE_S)


def same_file(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one of this name: its last owner removed it when it was done."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _held(file: IO[str], path: Path, patience_s: float) -> str:
    file.seek(0)
    owner, age = file.read(200) or "another process", time.time() - os.fstat(file.fileno()).st_mtime
    return (
        f"{path.parent} is being written by {owner}, since {age:.0f} s; expected it to be done within "
        f"{patience_s:.0f} s: wait for it, or end it"
    )
