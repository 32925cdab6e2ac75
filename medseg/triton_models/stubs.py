"""Stubs: Triton's python processes, one for each instance of a python model; they are children of tritonserver."""

from __future__ import annotations

import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from medseg.tasks.streaming import IN_FLIGHT

THREADS = f"--backend-config=python,thread-pool-size={IN_FLIGHT}"  # a stub asks no more networks at a time
_PROGRAM = "triton_python_backend_stub"
Stubs = list[tuple[str, psutil.Process]]  # the model and its process


class Running(Protocol):
    """A tritonserver."""

    process: subprocess.Popen[bytes]


def processes(server: Running) -> Counter[str]:
    """The number of living processes of each python model of the server."""
    return Counter(model for model, _ in stubs_of(server))


def stubs_of(server: Running) -> Stubs:
    """The living processes of the server's python models."""
    found: Stubs = []
    parent = process_of(server.process.pid)
    for child in parent.children(recursive=True) if parent else ():
        try:
            program, *words = child.cmdline() or [""]
            if program.endswith(_PROGRAM) and child.status() != psutil.STATUS_ZOMBIE:
                found.append((Path(words[0]).parts[-3], child))  # REPOSITORY/MODEL/1/model.py
        except (psutil.NoSuchProcess, IndexError):  # it ended, or has only just begun and has no words yet
            continue
    return found


def process_of(pid: int) -> psutil.Process | None:
    """The process with this id; None if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None
