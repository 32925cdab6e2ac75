"""Shared memory of servers and clients: files in /dev/shm, named after their owner's process id."""

from __future__ import annotations

import re
from pathlib import Path

_SHM = Path("/dev/shm")


def region_prefix(owner: int) -> str:
    """What the names of the tensors' memory of a server begin with."""
    return f"medseg_{owner}_"


def remove_stale() -> None:
    """Remove what servers and clients left whose process is gone, as a crash leaves it."""
    for path in _SHM.glob("medseg*_*"):
        owner = re.match(r"medseg(?:-\w+)?_(\d+)_", path.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            path.unlink(missing_ok=True)


def remove_tensors(owner: int) -> None:
    """Remove a server's memory for tensors."""
    for path in _SHM.glob(f"{region_prefix(owner)}*"):
        path.unlink(missing_ok=True)


def remove(owner: int) -> None:
    """Remove all that a server's process had."""
    for path in _SHM.glob(f"medseg*_{owner}_*"):
        path.unlink(missing_ok=True)
