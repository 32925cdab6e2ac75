"""Engines: each opens exactly one exported file and is a callable from batch to batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from medseg.errors import EngineError, MedsegError
from medseg.task import Array

# name -> (where its class lives, the package it needs, the extra that brings the package, the suffix of its files)
ENGINES = {
    "torch": ("medseg.engines.torch:TorchEngine", "torch", "torch", ".pt2"),
    "onnxruntime": ("medseg.engines.onnxruntime:OnnxRuntimeEngine", "onnxruntime", "onnxruntime", ".onnx"),
    "openvino": ("medseg.engines.openvino:OpenVinoEngine", "openvino", "openvino", ".onnx"),
    "tensorrt": ("medseg.engines.tensorrt:TensorRtEngine", "tensorrt", "trt", ".plan"),
    "tensorrt-rtx": ("medseg.engines.tensorrt:TensorRtRtxEngine", "tensorrt_rtx", "rtx", ".rtx"),
}
CPU_DEFAULT = "openvino"


class Engine(Protocol):
    """One exported file, open. It may be called from several threads at once."""

    def __call__(self, batch: Array) -> Array:
        """(n, *input_shape) float32 -> (n, *output_shape) float32; blocks until the answer is in host memory."""
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...


def open_engine(name: str, file: Path, threads: int | None = None, streams: int = 1) -> Engine:
    """An engine on an exported file.

    `threads` None takes every core. `streams` calls are answered at the same time, each on its share of the threads:
    one stream answers a single call soonest, as many as there are cores answer the most calls per second.
    Raises EngineError for an unknown name, a missing package or an unfit file, and later where a batch has no answer.
    """
    if name not in ENGINES:
        raise EngineError(f"engine {name!r} is unknown; expected one of {', '.join(ENGINES)}")
    where, package, extra, suffix = ENGINES[name]
    if file.suffix != suffix:
        raise EngineError(f"engine {name!r} cannot open {file}; expected a {suffix} file: export one for this engine")
    module, attribute = where.split(":")
    try:
        opener: Any = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise EngineError(f"engine {name!r} needs {package!r}: pip install 'medseg[{extra}]'") from error
    with _in_our_words(f"engine {name!r} cannot open {file}"):
        return _Open(opener(file, threads or os.cpu_count() or 1, streams), name, file)


_ALONE = Lock()  # one for the whole process: what a library sets up at its first call, all of its engines share


class _Open:
    """An engine that is open. Its first call has this process's engines to itself, and what it raises is one sentence.

    Libraries set themselves up when they are first used, and not all of them with several threads in mind: OpenVINO's
    first answers deadlocked while they held Python's own lock, so that not even Ctrl-C was heard.
    """

    def __init__(self, engine: Engine, name: str, file: Path) -> None:
        self._engine, self._name, self._file, self._called = engine, name, file, False

    def __call__(self, batch: Array) -> Array:
        with _in_our_words(f"engine {self._name!r} cannot answer a batch of shape {batch.shape} with {self._file}"):
            if not self._called:
                with _ALONE:
                    if not self._called:
                        answer = self._engine(batch)
                        self._called = True
                        return answer
            return self._engine(batch)

    def close(self) -> None:
        self._engine.close()


@contextmanager
def _in_our_words(what: str) -> Iterator[None]:
    """Whatever a library raises, which may be anything where a file is damaged, as an EngineError of one sentence."""
    try:
        yield
    except MedsegError:
        raise
    except Exception as error:
        raise EngineError(f"{what} ({_reason(error)}): export it again") from error


def _reason(error: Exception) -> str:
    """The first line that says something, which a position in OpenVINO's sources does not, cut where it gets long."""
    lines = [line.strip().rstrip(":.") for line in str(error).splitlines()]
    said = next((line for line in lines if line and not line.startswith("Exception from")), type(error).__name__)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."


_LONGEST = 300  # characters: more is a library's inner life
