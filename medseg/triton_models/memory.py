"""Shared memory of servers and clients, named after their owner's process id; and processes that outlived theirs."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import psutil

_SHM = Path("/dev/shm")


def region_prefix(owner: int) -> str:
    """What the names of the tensors' memory of a server begin with."""
    return f"medseg_{owner}_"


def remove_stale() -> None:
    """Remove the files of servers and clients whose process is gone, for example after a crash."""
    for path in _SHM.glob("medseg*_*"):
        owner = re.match(r"medseg(?:-\w+)?_(\d+)_", path.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            path.unlink(missing_ok=True)


def end_orphans() -> None:
    """End this user's python processes of servers whose `medseg serve` is gone: one killed while it starts leaves them.

    They wait for ever for a tritonserver that has ended. Which server was theirs stands in their command line.
    """
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or ()
        owner = next((found[1] for word in words if (found := re.match(r"medseg_(\d+)_", word))), None)
        if owner and not Path(f"/proc/{owner}").exists():
            with suppress(psutil.Error):
                if one.uids().effective == os.geteuid():
                    one.kill()


def remove_tensors(owner: int) -> None:
    """Remove a server's memory for tensors."""
    for path in _SHM.glob(f"{region_prefix(owner)}*"):
        path.unlink(missing_ok=True)


def remove(owner: int) -> None:
    """Remove everything that belonged to a server's process."""
    for path in _SHM.glob(f"medseg*_{owner}_*"):
        path.unlink(missing_ok=True)
