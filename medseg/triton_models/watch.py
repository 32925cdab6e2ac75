"""Supervision: Triton does not restart a python process that died, and goes on calling itself ready: we watch."""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from medseg.errors import ServerError
from medseg.triton_models.control import did
from medseg.triton_models.server import Server

_RETRY_SECONDS = 2  # until a model that did not load is tried again
_LOAD_SECONDS = 120
_FINISH_SECONDS = 2  # for what a model was doing when it was unloaded
_STUB = "triton_python_backend_stub"


def watch(server: Server, tell: Callable[[str], None]) -> None:
    """Keep the server whole until it ends: a model whose process died is loaded again, and `tell` hears of it.

    Requests to an unloaded model are refused as unavailable. Raises ServerError when the server itself ends.
    """
    whole = processes(server)
    while server.process.poll() is None:
        stubs = _stubs(server)
        missing = sorted(set(whole - Counter(model for model, _ in stubs)))
        back = [_replaced(server, model, tell) for model in missing]
        if not any(back):
            _await_end(server, stubs)
    raise ServerError(f"tritonserver ended by itself with code {server.process.returncode}: {server.reason()}")


def _replaced(server: Server, model: str, tell: Callable[[str], None]) -> bool:
    """Unload a model that lacks a process, and load it again; whether it is back."""
    tell(f"a process of model {model} died; the model is loaded again")
    started = time.monotonic()
    back = _control(server, model, "unload") and _ended(server, model) and _control(server, model, "load")
    if back:
        tell(f"model {model} is back after {time.monotonic() - started:.1f} s")
    elif server.process.poll() is None:
        tell(f"model {model} did not load: {server.reason()}; it is tried again in {_RETRY_SECONDS} s")
    return back


def _await_end(server: Server, stubs: list[tuple[str, psutil.Process]]) -> None:
    """Sleep until the server or one of these processes ends, but not for long: a model that failed is tried again."""
    with ExitStack() as stack:
        waiting = select.poll()
        for pid in (server.process.pid, *(stub.pid for _, stub in stubs)):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:  # it ended since
                return
            stack.callback(os.close, descriptor)
            waiting.register(descriptor, select.POLLIN)
        waiting.poll(_RETRY_SECONDS * 1000)


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
    return did(server.sockets, "POST", f"/v2/repository/models/{model}/{action}", _LOAD_SECONDS)
