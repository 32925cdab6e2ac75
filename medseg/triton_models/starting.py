"""The start of a tritonserver: its models are awaited for as long as its processes do something.

Triton's python backend now and then crashes while it starts, or hangs: a process of a model waits for ever. Both times
another start is all that it takes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil
from tqdm import tqdm

from medseg.errors import ServerError
from medseg.triton_models.control import did
from medseg.triton_models.stubs import process_of

READY_SECONDS = 600  # until all models are ready
STALLED_SECONDS = 60.0  # so long its processes may do nothing; what loads, or waits for a busy core, does something
_NOTHING = 0.04  # of a core: idle processes with their signs of life, and our questions, take less
_LITTLE = 8 << 20  # bytes read: our questions are less, a file that loads is more
_STARTS = 3


class Starting(Protocol):
    """A tritonserver that can be started."""

    sockets: Path
    models: Sequence[str]
    process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it and wait for its models."""
        ...

    def stop(self) -> None:
        """End it with its processes."""
        ...

    def ending(self) -> str:
        """How it ended, in words."""
        ...

    def reason(self) -> str:
        """What its log says of it."""
        ...


class StalledError(ServerError):
    """A start whose processes do nothing."""


def started(server: Starting) -> None:
    """Start a server; one that crashes or hangs meanwhile is started again.

    Raises ServerError with the log's reason if it does not start.
    """
    for left in reversed(range(_STARTS)):
        try:
            server.start()
            return
        except ServerError as error:
            hangs = isinstance(error, StalledError)
            if not left or not (hangs or (server.process.poll() or 0) < 0):
                raise
            why = f"did nothing for {STALLED_SECONDS:.0f} s" if hangs else f"ended {server.ending()}"
            tqdm.write(f"tritonserver {why} while it started; it is started again", file=sys.stderr)
            server.stop()


def await_ready(server: Starting) -> None:
    """Wait until every model is ready. Raises ServerError if that does not come, StalledError if nothing happens."""
    deadline, waiting = time.monotonic() + READY_SECONDS, list(server.models)
    progress = Progress(server.process.pid)
    with tqdm(total=len(waiting), desc="starting the server", unit="model", disable=None, leave=False) as bar:
        while waiting or not did(server.sockets, "GET", "/v2/health/live", 5):
            stalled = progress.stalled()
            if stalled or server.process.poll() is not None or time.monotonic() > deadline:
                what = f"model {waiting[0]!r}" if waiting else "itself"
                kind = StalledError if stalled else ServerError
                raise kind(f"tritonserver did not get {what} ready: {server.reason()}")
            waiting = [name for name in waiting if not did(server.sockets, "GET", f"/v2/models/{name}/ready", 5)]
            bar.update(len(server.models) - len(waiting) - bar.n)
            time.sleep(0.1 if waiting else 0)


class Progress:
    """Whether a process and those it started do something: use a processor, or read."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._since, self._used, self._read = time.monotonic(), 0.0, 0

    def stalled(self) -> bool:
        """Whether they have done nothing for STALLED_SECONDS. Asked again and again, from their start."""
        now = time.monotonic()
        if now - self._since < STALLED_SECONDS:
            return False
        used, read = _work(self._pid)
        idle = abs(used - self._used) < _NOTHING * (now - self._since) and abs(read - self._read) < _LITTLE
        self._since, self._used, self._read = now, used, read
        return idle


def _work(pid: int) -> tuple[float, int]:
    """The processor's seconds and the bytes read so far, of a process and its descendants; ended ones' are a part."""
    parent, seconds, read = process_of(pid), 0.0, 0
    with suppress(psutil.NoSuchProcess):
        for process in [parent, *parent.children(recursive=True)] if parent else ():
            with suppress(psutil.Error):
                seconds += sum(process.cpu_times()[:4])  # user, system, and those of children
                done = process.io_counters()
                read += done.read_bytes + done.read_chars  # mapped files, network disks
    return seconds, read
