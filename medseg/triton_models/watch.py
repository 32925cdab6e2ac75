"""Supervision: Triton does not restart a python process that died, and still says that it is ready. So we watch it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import psutil

from medseg.errors import ServerError
from medseg.triton_models.pulse import SECONDS, Pulses, beat
from medseg.triton_models.server import Server
from medseg.triton_models.stubs import Stubs, process_of, processes, stubs_of

_LOOK_SECONDS = 1
_RETRY_SECONDS = 2  # until loading a model is tried again
_LEAST_LOAD_SECONDS = 20.0
_LOAD_TIMES = 3.0  # loading one model may take this many times as long as the whole server took to start
_END_SECONDS = 2  # time for a killed process to end
_ALIVE_SECONDS = 2
_MOST_STARTS, _START_WINDOW = 6, 600  # a server that ends more often than this within the window is given up
Tell = Callable[[str], None]


class Watched(Protocol):
    """A server that can be supervised: tritonserver behind our front, or in a container (supervise.py)."""

    process: subprocess.Popen[bytes]
    sockets: Path  # where processes give signs of life
    models: Sequence[str]
    start_seconds: float
    whole: Counter[str]  # how many python processes each model had when all models were loaded

    def did(self, method: str, path: str, seconds: float) -> bool:
        """Whether tritonserver answered this request with 200 in this time."""
        ...

    def others(self) -> dict[int, str]:
        """The other processes that must be alive."""
        ...

    def ask_again(self) -> None:
        """Let requests that waited for a dead process be sent again, if a front kept them."""
        ...

    def mark(self) -> None:
        """From now on, `reason` looks only at what happens after this call."""
        ...

    def reason(self) -> str:
        """Why something failed, if that is known."""
        ...


def watch(server: Server, tell: Tell) -> None:
    """Supervise the server until it is closed: processes that died or froze are replaced, and `tell` reports it.

    Meanwhile requests to them wait, or are refused as unavailable. Raises ServerError if the server ends too often.
    """
    pulses, starts = Pulses(server.sockets), list[float]()
    while not server.closing:
        if server.process.poll() is not None and not server.closing:
            _started_again(server, starts, tell)
            pulses = Pulses(server.sockets)
        if server.front.poll() is not None and not server.closing:
            _opened_again(server, tell)
        mend(server, pulses, tell)


def mend(server: Watched, pulses: Pulses, tell: Tell) -> None:
    """Check a server once: replace processes that died or froze; if none was replaced, wait for the next end."""
    stubs = stubs_of(server)
    _kill_frozen(server, stubs, pulses, tell)
    missing = sorted(set(server.whole - Counter(model for model, _ in stubs)))
    back = [_replaced(server, model, server.whole[model], tell) for model in missing]
    if not any(back):
        _await_end(server, stubs, _RETRY_SECONDS if missing else _LOOK_SECONDS)


def _started_again(server: Server, starts: list[float], tell: Tell) -> None:
    """Start tritonserver again, after a pause that doubles with each recent end. Raises ServerError after too many."""
    starts[:] = [when for when in starts if when > time.monotonic() - _START_WINDOW]
    why = f"tritonserver ended {server.ending()}"
    if len(starts) >= _MOST_STARTS:
        raise ServerError(f"{why}, the {len(starts) + 1}th time in {_START_WINDOW // 60} minutes: {server.reason()}")
    pause = 2 ** len(starts) - 1
    tell(f"{why}; it is started again{f' in {pause} s' if pause else ''}")
    started = time.monotonic()
    starts.append(started)
    _pause(pause)
    server.stop()
    try:
        server.start()
    except ServerError as error:
        tell(str(error))
        server.process.kill()
        server.process.wait()
    else:
        tell(f"tritonserver is back after {time.monotonic() - started:.1f} s")


def _opened_again(server: Server, tell: Tell) -> None:
    """Open the front again. Its ports were free for a moment: raises ServerError where another program keeps one."""
    started = time.monotonic()
    tell("the front ended; it is opened again")
    for left in reversed(range(_MOST_STARTS)):
        server.start_front()
        try:
            server.open_front()
            break
        except ServerError as error:
            if not left:
                raise
            tell(f"{error}; it is tried again")
            _pause(1)
    tell(f"the front is back after {time.monotonic() - started:.1f} s")


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _kill_frozen(server: Watched, stubs: Stubs, pulses: Pulses, tell: Tell) -> None:
    """Kill frozen processes; then they are replaced like processes that died."""
    if server.did("GET", "/v2/health/live", _ALIVE_SECONDS):
        beat(server.sockets, server.process.pid)
    names = {process.pid: f"a process of model {model}" for model, process in stubs}
    names |= {server.process.pid: "tritonserver", **server.others()}
    for process in pulses.frozen(one for pid in names if (one := process_of(pid))):
        tell(f"{names[process.pid]} gave no sign of life for {SECONDS:.0f} s; it is ended")
        _kill(process)
        stubs[:] = [stub for stub in stubs if stub[1].pid != process.pid]


def _replaced(server: Watched, model: str, count: int, tell: Tell) -> bool:
    """Unload a model that lacks a process, and load it again; returns whether it is back."""
    tell(f"a process of model {model} died; the model is loaded again")
    started = time.monotonic()
    server.mark()
    _end_others(server, model)
    back = _control(server, model, "unload") and _control(server, model, "load")
    if back and processes(server)[model] >= count and _all_ready(server):
        server.ask_again()
        tell(f"model {model} is back after {time.monotonic() - started:.1f} s")
    elif server.process.poll() is None and time.monotonic() - started >= _patience(server):
        tell(f"model {model} did not load in {_patience(server):.0f} s; tritonserver is ended")
        server.process.kill()
        server.process.wait()
    elif server.process.poll() is None:
        tell(f"model {model} did not load: {server.reason()}; it is tried again in {_RETRY_SECONDS} s")
        return False
    return back


def _patience(server: Watched) -> float:
    """The seconds a model may take to load: if a process hangs at its start, Triton never answers."""
    return max(_LEAST_LOAD_SECONDS, _LOAD_TIMES * server.start_seconds)


def _all_ready(server: Watched) -> bool:
    """Whether every model, and so every ensemble, is ready again."""
    return all(server.did("GET", f"/v2/models/{name}/ready", _ALIVE_SECONDS) for name in server.models)


def _await_end(server: Watched, stubs: Stubs, seconds: float) -> None:
    """Sleep until the server, one of its other processes or one of the stubs ends, but at most this long."""
    with ExitStack() as stack:
        waiting = select.poll()
        for pid in (server.process.pid, *server.others(), *(stub.pid for _, stub in stubs)):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:  # it has ended meanwhile
                return
            stack.callback(os.close, descriptor)
            waiting.register(descriptor, select.POLLIN)
        waiting.poll(seconds * 1000)


def _end_others(server: Watched, model: str) -> None:
    """Kill the other processes of a model before it is unloaded; Triton would wait seconds until they end.

    The front sends their requests again. If a process died while it ends by itself, Triton would wait for ever.
    """
    for name, process in stubs_of(server):
        if name == model:
            _kill(process)


def _kill(process: psutil.Process) -> None:
    """Kill a process and wait until it has ended. Its parent need not have collected its exit status."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.is_running():  # the id does not belong to another process by now
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], _END_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _control(server: Watched, model: str, action: str) -> bool:
    """Whether the server did this; if not, the next check finds the model still missing and tries again."""
    return server.did("POST", f"/v2/repository/models/{model}/{action}", _patience(server))
