"""A disk of a few kilobytes: a tmpfs, if the tests may mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@contextmanager
def small_disk(folder: Path, kilobytes: int, options: str = "rw") -> Iterator[Path]:
    """A file system of this size, mounted in a new folder, and unmounted at the end."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,{options}", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@cache
def _may_mount() -> bool:
    if os.geteuid():
        return False
    try:
        with TemporaryDirectory() as folder, small_disk(Path(folder), 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


needs_mount = pytest.mark.skipif(not _may_mount(), reason="needs to mount a small file system, as root may")
