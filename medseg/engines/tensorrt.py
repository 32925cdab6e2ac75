"""TensorRT and TensorRT-RTX on an engine file: the same calls, two modules."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from medseg.data.cache import cache_folder
from medseg.engines import library
from medseg.engines.gpu import checked, gpu_name
from medseg.errors import EngineError
from medseg.files import sha256, whole_file
from medseg.run import Run
from medseg.task import Array


class TensorRtEngine:
    """A TensorRT plan on the GPU it was built for. Raises EngineError in words where GPU or version differ."""

    name = "tensorrt"

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        del threads, streams  # the GPU has its own
        trt = library(self.name)
        if reason := unfit(_facts(file), gpu_name(), trt.__version__):
            raise EngineError(f"{file} cannot be opened: {reason}")
        self._log = trt.Logger(trt.Logger.ERROR)
        self._engine = trt.Runtime(self._log).deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise EngineError(f"{file} is not an engine of {self.name} {trt.__version__} for this GPU: build it again")
        self._context = self._started(file)
        self._largest = tuple(self._engine.get_tensor_profile_shape("input", 0)[2])
        self._smallest = tuple(self._engine.get_tensor_profile_shape("input", 0)[0])
        self._lock = Lock()  # a context answers one call at a time

    def __call__(self, batch: Array) -> Array:
        """(n, *input_shape) float32 -> (n, *output_shape) float32. Raises EngineError outside the profile."""
        if reason := outside(batch.shape, self._smallest, self._largest):
            raise EngineError(reason)
        with self._lock:
            return _answered(self._context, np.ascontiguousarray(batch, np.float32))

    def close(self) -> None:
        """Give back the GPU's memory."""
        del self._context, self._engine

    def _started(self, file: Path) -> Any:
        """A context to run the engine in."""
        del file
        return self._engine.create_execution_context()


class TensorRtRtxEngine(TensorRtEngine):
    """A TensorRT-RTX engine on a GPU of the compute capability it was built for.

    Its kernels are compiled when they are first run. Those of earlier runs are taken from a cache, which the library
    itself sets aside where GPU, CUDA or version differ.
    """

    name = "tensorrt-rtx"

    def close(self) -> None:
        """Keep the compiled kernels for the next start, and give back the GPU's memory."""
        kernels = bytes(self._kernels.serialize())
        with suppress(OSError):  # the next start compiles again where they cannot be kept
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._cache) as path:
                path.write_bytes(kernels)
        del self._kernels
        super().close()

    def _started(self, file: Path) -> Any:
        config = self._engine.create_runtime_config()
        self._kernels = config.create_runtime_cache()
        self._cache = cache_folder() / self.name / f"{_facts(file).get('key') or sha256(file)}.kernels"
        if self._cache.is_file():
            self._kernels.deserialize(self._cache.read_bytes())
        config.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(config)


def unfit(facts: dict[str, Any], gpu: str, version: str) -> str | None:
    """Why an engine with these manifest facts cannot run on this GPU with this version, in words; None when it can."""
    if not gpu:
        return "this machine has no NVIDIA GPU, or no driver; open the .onnx file with engine openvino or onnxruntime"
    if facts.get("gpu", gpu) != gpu:
        return f"it was built for {facts['gpu']} and this GPU is {gpu}; export it with --gpu {gpu}"
    if _release(facts.get("version", version)) != _release(version):
        return f"it was built with version {facts['version']} and {version} is installed; export it again"
    return None


def _release(version: str) -> list[str]:
    """Major, minor and patch: what an engine is bound to; a fourth number is the build."""
    return version.split(".")[:3]


def outside(shape: tuple[int, ...], smallest: tuple[int, ...], largest: tuple[int, ...]) -> str | None:
    """Why a batch of this shape lies outside the engine's profile, in words; None when it lies inside."""
    inside = len(shape) == len(largest) and all(
        low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)
    )
    if inside:
        return None
    return (
        f"batch of shape {shape} is outside the engine's profile {smallest} to {largest}; export with a wider --batch"
    )


def _facts(file: Path) -> dict[str, Any]:
    """What the manifest says of an engine; nothing for a file outside a run."""
    if not (file.parent / "manifest.json").is_file():
        return {}
    return Run(file.parent).files.get(file.name, {})


def _answered(context: Any, batch: Array) -> Array:
    """The context's output for one contiguous batch, back in host memory."""
    from cuda.bindings import runtime

    context.set_input_shape("input", batch.shape)
    answer = np.empty(tuple(context.get_tensor_shape("output")), np.float32)
    stream = checked(runtime.cudaStreamCreate())
    held: list[Any] = []
    try:
        for tensor, array in (("input", batch), ("output", answer)):
            held.append(checked(runtime.cudaMalloc(array.nbytes)))
            context.set_tensor_address(tensor, held[-1])
        kind = runtime.cudaMemcpyKind
        _copy(runtime, held[0], batch.ctypes.data, batch.nbytes, kind.cudaMemcpyHostToDevice)
        if not context.execute_async_v3(stream):
            raise EngineError(f"the engine failed on a batch of shape {batch.shape}; see its log above: build it again")
        checked(runtime.cudaStreamSynchronize(stream))
        _copy(runtime, answer.ctypes.data, held[1], answer.nbytes, kind.cudaMemcpyDeviceToHost)
    finally:
        for memory in held:
            runtime.cudaFree(memory)
        runtime.cudaStreamDestroy(stream)
    return answer


def _copy(runtime: ModuleType, to: int, source: int, size: int, kind: Any) -> None:
    checked(runtime.cudaMemcpy(to, source, size, kind))
