"""Engines: each opens exactly one exported file and is a callable from batch to batch."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from medseg.errors import EngineError
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
    Raises EngineError for an unknown name, a missing package or an unfit file.
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
    return cast(Engine, opener(file, threads or os.cpu_count() or 1, streams))
