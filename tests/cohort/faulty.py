"""A task whose cases do what their files say: answer, refuse, raise, crash, hang; for workers, which open it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from medseg import __version__
from medseg.api.predictor import Predictor
from medseg.cohort.case import Item, Outcome, Work
from medseg.cohort.stages import INFER, READ, WRITE, Asked, Stages
from medseg.cohort.worker import opened as opened_predictor
from medseg.errors import InputError, ServerError
from medseg.task import Files, Pipeline, Reading, Request, Source, Task, Tensor, Tensors

MADE_BY = {"medseg": __version__, "engine": "none", "precision": "fp32", "runs": []}
OPENER = "tests.cohort.faulty:opened"


def _sources(path: Path, _: Reading) -> list[Source]:
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise InputError(f"{path} holds no .txt files; expected some: check it")
    return [Source(file, file.stem, partial(_request, file)) for file in files]


def _request(file: Path) -> Request:
    words = file.read_bytes()
    if words.startswith(b"refuse"):
        raise InputError(f"{file} is damaged; expected words: copy it again")
    return Request(file.stem, {"words": np.frombuffer(words.ljust(64), np.uint8)}, file)


def _write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    path = folder / f"{request.name}.out"
    path.write_bytes(answer["words"].tobytes().strip())
    return [path]


def _answered(name: str, folder: Path) -> list[Path]:
    return [path for path in [folder / f"{name}.out"] if path.exists()]


_WORDS = Tensor("words", (64,), "uint8")
TASK = Task(
    "faulty",
    "Files that misbehave",
    (),
    Pipeline((_WORDS,), ("words",), (), ("words",)),
    Files(_sources, _write, _answered),
)


def _ask(tensors: Tensors) -> Tensors:
    words = tensors["words"].tobytes().decode().split()
    match words:
        case ["crash"]:
            signal.raise_signal(signal.SIGSEGV)  # to this very thread: the process may end a moment after os.kill
        case ["kill"]:
            signal.raise_signal(signal.SIGKILL)
        case ["hang"]:
            time.sleep(3600)
        case ["raise"]:
            raise ValueError("something broke")
        case ["memory"]:
            raise MemoryError
        case ["once", marker]:  # goes wrong the first time
            if not Path(marker).exists():
                Path(marker).touch()
                signal.raise_signal(signal.SIGKILL)
        case ["slow", seconds]:
            time.sleep(float(seconds))
    return tensors


@contextmanager
def opened(*_: object) -> Iterator[Predictor]:
    """What answers."""
    yield Predictor(TASK, _ask, MADE_BY)


@contextmanager
def served(_: str, __: object, url: str, *more: object) -> Iterator[Predictor]:
    """A server that answers unless a file with its port's name lies in the folder that MEDSEG_TEST_AWAY names."""
    away = Path(os.environ["MEDSEG_TEST_AWAY"], url.rpartition(":")[2])

    def ask(tensors: Tensors) -> Tensors:
        if away.exists():
            raise ServerError(f"{url} does not answer; expected a server: start one")
        return _ask(tensors)

    ask({"words": np.zeros(64, np.uint8)})
    yield Predictor(TASK, ask, MADE_BY | {"server": url})


def work(**more: object) -> Work:
    """How its cases are asked."""
    return Work("faulty", "", opener=OPENER, expected=MADE_BY, **more)  # type: ignore[arg-type]


class Inline:
    """A pool in this process: cases are answered one by one, when their outcomes are asked for."""

    def __init__(self, work: Work) -> None:
        self._open, self._waiting = ExitStack(), list[Item]()
        self._stages = Stages(work, self._open.enter_context(opened_predictor(work)))

    def take(self, item: Item, avoid: str = "") -> bool:
        if len(self._waiting) == 3:
            return False
        self._waiting.append(item)
        return True

    def receive(self, seconds: float) -> list[Outcome]:
        return [self._answered(self._waiting.pop(0))] if self._waiting else []

    def _answered(self, item: Item) -> Outcome:
        asked, found = Asked(item), None
        try:
            for stage in (READ, INFER, WRITE):
                found = self._stages.of(stage, asked)(found)
        except Exception as error:
            return self._stages.failed(asked, error)
        return self._stages.done(asked, found)

    def close(self) -> None:
        self._open.close()
