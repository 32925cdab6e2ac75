"""Kills or stops processes, and measures how soon a new client gets a right answer again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from benchmarks.soak.asking import BACK_S, TASK, Asked, alike
from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import served_pipeline
from medseg.errors import ServerError

KILLS = (  # tritonserver's come early, so that its processes live for more than half of the test
    ("gi-tract-answer-step", signal.SIGKILL),
    ("gi-tract-decode-step", signal.SIGKILL),
    ("tritonserver", signal.SIGKILL),
    ("tritonserver", signal.SIGSEGV),
    ("gi-tract-network", signal.SIGKILL),
    ("front", signal.SIGKILL),
    ("gi-tract-check-step", signal.SIGKILL),
    ("gi-tract-decode-step", signal.SIGSTOP),
    ("gi-tract-network", signal.SIGSTOP),
)
_DUE, _SERVER_DUE = 2.0, 10.0  # seconds; not for stopped processes, which are noticed only after some seconds


@dataclass
class Recovery:
    """A process that was killed or stopped: seconds until a new client had a right answer, and what serve said."""

    process: str
    how: str
    seconds: float
    said: list[str]
    early: int  # how often a new client got no answer after serve had said that all is back

    @property
    def due(self) -> float | None:
        """The most seconds that it may take; None: no limit."""
        if self.how == "SIGSTOP":
            return None
        return _SERVER_DUE if self.process == "tritonserver" else _DUE


def family(serve: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The living processes of `medseg serve`, by name; further instances of a model have a + after the name."""
    found: dict[str, psutil.Process] = {"serve": psutil.Process(serve.pid)}
    for child in found["serve"].children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:
            continue
        name = next((part.split("/")[-3] for part in words.split() if part.endswith("/1/model.py")), "")
        name = name or ("front" if "triton_models.front" in words else child.name())
        while words and name in found:
            name += "+"
        if words:
            found[name] = child
    return found


def strike(
    asked: Asked, serve: subprocess.Popen[str], told: Sequence[str], victim: tuple[str, signal.Signals]
) -> Recovery:
    """Kill or stop one process, and wait until a new client gets a right answer."""
    name, how = victim
    before, started = len(told), time.monotonic()
    asked.beside, seconds, early = True, float("inf"), 0
    family(serve)[name].send_signal(how)
    while time.monotonic() < started + BACK_S and seconds == float("inf"):
        # for a stopped process, or one of two instances, only serve's message shows that it was missed
        said = any(" is back " in line for line in told[before:])
        right = _is_right(asked)
        if right and said:
            seconds = time.monotonic() - started
        early += said and not right
        time.sleep(0.02)
    asked.beside = False
    return Recovery(name, how.name, round(seconds, 2), [line.strip() for line in told[before:]], early)


def _is_right(asked: Asked) -> bool:
    """Whether a new client gets the right answer."""
    data, mask = asked.pictures[0]
    model = served_pipeline(f"grpc://127.0.0.1:{asked.ports.grpc}", TASK, timeout_s=BACK_S)
    try:
        return alike(model.ask({"encoded": encoded_tensor([data])}, ("mask",))["mask"], mask)
    except ServerError:
        return False
    finally:
        model.close()
