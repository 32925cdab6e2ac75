"""Supervision: Triton does not restart a python process that died, and goes on calling itself ready: we watch."""

from __future__ import annotations

import os
import select
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from medseg.errors import ServerError
from medseg.triton_models.server import Server

_LONGEST_S = 0.5
_LOAD_SECONDS = 120
_FINISH_SECONDS = 2  # for what a model was doing when it was unloaded
_STUB = "triton_python_backend_stub"


def watch(server: Server, tell: Callable[[str], None]) -> None:
    """Keep the server whole until it ends: a model whose process died is loaded again, and `tell` hears of it.

    Requests to an unloaded model are refused as unavailable. Raises ServerError when the server itself ends.
    """
    whole = processes(server)
    while server.process.poll() is None:
        for model in sorted(set(whole - processes(server))):
            tell(f"a process of model {model} died; the model is loaded again")
            started = time.monotonic()
            if _control(server, model, "unload") and _ended(server, model) and _control(server, model, "load"):
                tell(f"model {model} is back after {time.monotonic() - started:.1f} s")
        _await_end(server)
    raise ServerError(f"tritonserver ended by itself with code {server.process.returncode}: {server.reason()}")


def _await_end(server: Server) -> None:
    """Sleep until a process of the server ends, but not for long: a model that did not load is tried again."""
    with ExitStack() as stack:
        waiting = select.poll()
        for pid in (server.process.pid, *(stub.pid for _, stub in _stubs(server))):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:  # it ended since
                return
            stack.callback(os.close, descriptor)
            waiting.register(descriptor, select.POLLIN)
        waiting.poll(_LONGEST_S * 1000)


def processes(server: Server) -> Counter[str]:
    """How many living processes each python model of the server has."""
    return Counter(model for model, _ in _stubs(server))


def _stubs(server: Server) -> list[tuple[str, psutil.Process]]:
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            program, *words = child.cmdline() or [""]
            if program.endswith(_STUB) and child.status() != psutil.STATUS_ZOMBIE:
                found.append((Path(words[0]).parts[-3], child))  # REPOSITORY/MODEL/1/model.py
        except psutil.NoSuchProcess:
            continue
    return found


def _ended(server: Server, model: str) -> bool:
    """End what an unloaded model left: a request that met the dead process keeps the others of the model alive."""
    left = [process for name, process in _stubs(server) if name == model]
    for process in psutil.wait_procs(left, timeout=_FINISH_SECONDS)[1]:
        process.kill()
    return True


def _control(server: Server, model: str, action: str) -> bool:
    """Whether the server did what was asked; if not, the next look finds the model still missing and tries again."""
    request = urllib.request.Request(f"{server.url}/v2/repository/models/{model}/{action}", data=b"{}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_LOAD_SECONDS) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
