"""What the front does when `medseg serve` was killed: it leaves no process, no shared memory and no folder behind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from medseg.triton_models import memory

_SESSION = "session"
_STOP_SECONDS = 8  # more than tritonserver takes for a clean end, which the kernel told it to begin


def note_session(sockets: Path, session: int) -> None:
    """Keep which process group is tritonserver's, for the front."""
    (sockets / _SESSION).write_text(str(session))


def clean_up(sockets: Path, owner: int) -> None:
    """End tritonserver and its python processes, and remove what they and their owner, who is dead, had."""
    with suppress(OSError, ValueError):
        session = int((sockets / _SESSION).read_text())
        until = time.monotonic() + _STOP_SECONDS
        while _runs(session) and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(session, signal.SIGKILL)
    memory.remove(owner)
    shutil.rmtree(sockets, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
