"""Signs of life: a process that is stopped or stuck is as useless as a dead one, although the kernel says that it runs.

Every python process of the server, and the front, touches a file of its own twice a second from a thread of its own;
the watcher does it for tritonserver when that answers. A process that gave no sign for SECONDS and computed nothing is
frozen: stopped by a signal, or waiting for ever for a lock that Python holds. A long computation is neither.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import psutil

from medseg.triton_models.heap import TRIM_SECONDS, trim

FOLDER = "MEDSEG_PULSES"  # the environment variable that tells a server's processes where
SECONDS = 5.0
_BEAT_SECONDS, _LONGEST_GAP = 0.5, 3.0
_IDLE = 0.1  # of the time; a process that waits for Python's lock wakes up more rarely


def beat(folder: Path, pid: int) -> None:
    """Give one sign of life for a process."""
    with suppress(OSError):  # the folder goes when the server does
        (folder / f"pulse-{pid}").touch(0o600)


def start_beating() -> None:
    """Give signs of life from now on, where the environment says where; and memory back that is kept for too long."""
    if folder := os.environ.get(FOLDER):
        Thread(target=_beat_on, args=(Path(folder),), daemon=True).start()


def _beat_on(folder: Path) -> None:
    trimmed = time.monotonic()
    while folder.is_dir():
        beat(folder, os.getpid())
        time.sleep(_BEAT_SECONDS)
        if time.monotonic() - trimmed > TRIM_SECONDS:
            trim()
            trimmed = time.monotonic()


@dataclass
class _Seen:
    sign: int  # when the file was touched last
    busy: float  # seconds of computing, at that time
    waited: float = 0.0  # seconds since, as far as the watcher itself was awake


class Pulses:
    """Which processes are frozen, as one watcher sees it that looks about once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[int, _Seen] = {}
        self._looked = time.monotonic()

    def frozen(self, family: Iterable[psutil.Process]) -> list[psutil.Process]:
        """Those of the family that are. A watcher that was stopped itself counts only little of that."""
        gap, self._looked = min(time.monotonic() - self._looked, _LONGEST_GAP), time.monotonic()
        known = {process.pid: process for process in family}
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in known}
        return [process for process in known.values() if self._is_frozen(process, gap)]

    def _is_frozen(self, process: psutil.Process, gap: float) -> bool:
        try:
            sign = (self._folder / f"pulse-{process.pid}").stat().st_mtime_ns
            busy = sum(process.cpu_times()[:2])
        except (OSError, psutil.Error):
            return False  # it is starting, or has ended
        seen = self._seen.setdefault(process.pid, _Seen(sign, busy))
        if sign != seen.sign:
            self._seen[process.pid] = _Seen(sign, busy)
            return False
        seen.waited += gap
        return seen.waited >= SECONDS and busy - seen.busy < _IDLE * seen.waited
