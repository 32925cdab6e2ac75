"""Engines: each opens exactly one exported file and is a callable from batch to batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from medseg.errors import EngineError, MedsegError, unknown

if TYPE_CHECKING:
    from medseg.task import Array


@dataclass(frozen=True)
class Kind:
    """Everything about an engine that is not in its class: what it needs, which files it opens, who else opens them."""

    opener: str  # where its class lives, module:class
    suffix: str  # of its files
    package: str  # that is imported
    extra: str  # of medseg, that brings the package
    distributions: tuple[str, ...] = ()  # that may hold the package, where they are not called as it is
    backend: str = ""  # Triton's own backend of the engine's name runs on this device, cpu or gpu; "": there is none
    builds: str = ""  # its files are built from ONNX: "here", for this machine's GPU, or "anywhere", for a named GPU
    gpus: tuple[str, ...] = ()  # that its files can be built for; () is any that the library itself knows
    facts: str = ""  # module:function that says in words what the installed package can do here

    def __post_init__(self) -> None:
        if self.builds not in ("", "here", "anywhere") or self.backend not in ("", "cpu", "gpu"):
            raise ValueError(f"{self}: unknown words")


# If several engines open the same suffix, the first is the usual one.
ENGINES = {
    "torch": Kind("medseg.engines.torch:TorchEngine", ".pt2", "torch", "torch"),
    "openvino": Kind(
        "medseg.engines.openvino:OpenVinoEngine",
        ".onnx",
        "openvino",
        "openvino",
        backend="cpu",
        facts="medseg.engines.openvino:facts",
    ),
    "onnxruntime": Kind(
        "medseg.engines.onnxruntime:OnnxRuntimeEngine",
        ".onnx",
        "onnxruntime",
        "onnxruntime",
        ("onnxruntime", "onnxruntime-gpu"),
        backend="cpu",
        facts="medseg.engines.onnxruntime:facts",
    ),
    "tensorrt": Kind(
        "medseg.engines.tensorrt:TensorRtEngine",
        ".plan",
        "tensorrt",
        "trt",
        ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        backend="gpu",
        builds="here",
    ),
    "tensorrt-rtx": Kind(
        "medseg.engines.tensorrt:TensorRtRtxEngine",
        ".rtx",
        "tensorrt_rtx",
        "rtx",
        ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
        builds="anywhere",
        gpus=("sm75", "sm80", "sm86", "sm89", "sm120"),  # version 1.7: no Hopper, which sm90 (H100, H200) is
    ),
}
CPU_DEFAULT = "openvino"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")  # that an exported file can have
FASTER = 1.05  # so many times as fast as fp32 a lower precision must be; with less it gains nothing on this machine


def kind_of(engine: str) -> Kind:
    """The facts about the engine of this name. Raises EngineError, which lists the engines."""
    if engine not in ENGINES:
        raise EngineError(unknown("engine", engine, ENGINES))
    return ENGINES[engine]


def usual_engine(suffix: str) -> str:
    """The engine that usually opens files of this suffix."""
    return next(name for name, kind in ENGINES.items() if kind.suffix == suffix)


def library(engine: str) -> ModuleType:
    """The engine's package, imported. Raises EngineError naming the extra where it is missing."""
    kind = kind_of(engine)
    try:
        return import_module(kind.package)
    except ImportError as error:
        raise EngineError(f"engine {engine!r} needs {kind.package!r}: pip install 'medseg[{kind.extra}]'") from error


def named(place: str) -> Callable[..., Any]:
    """What a `module:name` is, imported."""
    module, _, name = place.partition(":")
    return cast(Callable[..., Any], getattr(import_module(module), name))


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

    `threads` None takes every core that this process may use. `streams` calls are answered at the same time, each on
    its share of the threads: one stream answers a single call soonest, as many as there are cores answer the most calls
    per second. Raises EngineError for an unknown name, a missing package or an unfit file, and later where a batch has
    no answer.
    """
    kind = kind_of(name)
    if file.suffix != kind.suffix:
        raise EngineError(
            f"engine {name!r} cannot open {file}; expected a {kind.suffix} file: export one for this engine"
        )
    try:
        opener = named(kind.opener)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != kind.package:
            raise
        raise EngineError(f"engine {name!r} needs {kind.package!r}: pip install 'medseg[{kind.extra}]'") from error
    with _in_our_words(f"engine {name!r} cannot open {file}"):
        return _Open(opener(file, threads or len(os.sched_getaffinity(0)), streams), name, file)


_ALONE = Lock()  # one for the whole process: all engines of a library share what it sets up at its first call


class _Open:
    """An engine that is open. Its first call has this process's engines to itself, and what it raises is one sentence.

    Libraries initialise themselves when they are first used, and not all of them are thread-safe then: OpenVINO's first
    answers deadlocked while they held Python's own lock, so not even Ctrl-C worked.
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
    """Whatever a library raises (anything is possible for a damaged file), as an EngineError of one sentence."""
    try:
        yield
    except MedsegError:
        raise
    except Exception as error:
        raise EngineError(f"{what} ({_reason(error)}): export it again") from error


def _reason(error: Exception) -> str:
    """The first line with a message (not a position in OpenVINO's sources), shortened if it is long."""
    lines = [line.strip().rstrip(":.") for line in str(error).splitlines()]
    said = next((line for line in lines if line and not line.startswith("Exception from")), type(error).__name__)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."


_LONGEST = 300  # characters: more are details of a library
