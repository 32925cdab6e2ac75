"""What the front does when `medseg serve` was killed: it removes every process, the shared memory and the folder."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from medseg.triton_models import memory

ORPHANED = signal.SIGHUP  # from the kernel, when the owner's threads end; SIGTERM is from who asks the front to end
_SESSION = "session"
_DEATH_SECONDS = 30  # from the end of a process's first thread to that of its last, on a busy machine
_STOP_SECONDS = 8  # more than tritonserver takes for a clean end, which the kernel told it to begin


def note_session(sockets: Path, session: int) -> None:
    """Keep which process group is tritonserver's, for the front."""
    (sockets / _SESSION).write_text(str(session))


def is_gone(owner: int) -> bool:
    """Whether this process's parent is another by now, or very soon: its threads end one after the other."""
    until = time.monotonic() + _DEATH_SECONDS
    while os.getppid() == owner and time.monotonic() < until:
        time.sleep(0.01)
    return os.getppid() != owner


def clean_up(sockets: Path, owner: int) -> None:
    """End tritonserver and its python processes, and remove what they and their owner, who is dead, had."""
    with suppress(OSError, ValueError):
        session = int((sockets / _SESSION).read_text())
        until = time.monotonic() + _STOP_SECONDS
        while _runs(session) and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(session, signal.SIGKILL)
    memory.remove(owner)
    until = time.monotonic() + _DEATH_SECONDS
    while sockets.exists() and time.monotonic() < until:
        shutil.rmtree(sockets, ignore_errors=True)  # this process and dying ones may still give signs of life there


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
