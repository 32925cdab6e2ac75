"""Small targets of our own whose behaviour is known: what the benchmark says of them can be checked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import sleep

import numpy as np

from medseg.bench.measure.clock import Clock
from medseg.bench.measure.target import BenchTarget
from medseg.task import Tensors, Unread


def question(name: str = "case", value: float = 1.0) -> Unread:
    """A case whose only tensor is one number, and whose truth is known."""
    return Unread(name, lambda: {"x": np.array([value])}, patient=name, known=True)


def target(behave: Callable[[int], None] = lambda _: None, name: str = "ours") -> BenchTarget:
    """A server with one worker that returns its input; `behave(n)` is called for its n-th request."""
    turn, calls = Lock(), []

    def answer(asked: Unread, clock: Clock) -> Tensors:
        with clock("read"):
            tensors = asked.ask()
        with turn, clock("work"):
            calls.append(None)
            behave(len(calls))
        return tensors

    return BenchTarget(name, answer)


def busy(seconds: float) -> Callable[[int], None]:
    """A worker that takes this long."""
    return lambda _: sleep(seconds)
