"""TensorRT and TensorRT-RTX on an engine file: the same calls, two modules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from medseg.data.cache import cache_folder
from medseg.engines import ENGINES, library
from medseg.engines.gpu import cuda_version, driver_version, gpu_name
from medseg.engines.lanes import Lane, Lanes
from medseg.errors import EngineError
from medseg.files import sha256, whole_file
from medseg.run import Run
from medseg.task import Array

_MOST_LANES = 4  # more calls at once would only share the GPU, and each lane needs memory of its own


class TensorRtEngine:
    """A TensorRT plan on the GPU it was built for. Raises EngineError in words where GPU or version differ."""

    name = "tensorrt"

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        del threads  # the GPU has its own
        trt = library(self.name)
        if reason := unfit({"engine": self.name} | _facts(file), gpu_name(), trt.__version__):
            raise EngineError(f"{file} cannot be opened: {reason}")
        self._log = trt.Logger(trt.Logger.ERROR)
        self._engine = begun(trt.Runtime, self._log).deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise EngineError(f"{file} is not an engine of {self.name} {trt.__version__} for this GPU: build it again")
        self._smallest, _, self._largest = map(tuple, self._engine.get_tensor_profile_shape("input", 0))
        alone = int(trt.__version__.split(".")[0]) < 10  # before 10, two contexts could not share a profile
        start, graphs = self._started(file), self._graphs()
        self._lanes = Lanes(lambda: Lane(start(), graphs), 1 if alone else min(streams, _MOST_LANES))

    def __call__(self, batch: Array) -> Array:
        """(n, *input_shape) float32 -> (n, *output_shape) float32. Raises EngineError outside the profile."""
        if reason := outside(batch.shape, self._smallest, self._largest):
            raise EngineError(reason)
        with self._lanes.one() as lane:
            return lane(batch)

    def close(self) -> None:
        """Give back the GPU's memory."""
        self._lanes.close()
        del self._lanes, self._engine

    def _graphs(self) -> bool:
        """Whether calls are recorded as CUDA graphs: where batches of one size always have one shape."""
        return bool(self._smallest[1:] == self._largest[1:])

    def _started(self, file: Path) -> Callable[[], Any]:
        """What makes a context to run the engine in."""
        del file
        return lambda: self._engine.create_execution_context()


class TensorRtRtxEngine(TensorRtEngine):
    """A TensorRT-RTX engine on a GPU of the compute capability it was built for.

    Its kernels are compiled when they are first run. Kernels of earlier runs are taken from a cache, which the library
    itself ignores if GPU, CUDA or version differ.
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

    def _graphs(self) -> bool:
        """It compiles kernels while it runs, which cannot be recorded."""
        return False

    def _started(self, file: Path) -> Callable[[], Any]:
        config = self._engine.create_runtime_config()
        self._kernels = config.create_runtime_cache()
        self._cache = cache_folder() / self.name / f"{_facts(file).get('key') or sha256(file)}.kernels"
        if self._cache.is_file():
            self._kernels.deserialize(self._cache.read_bytes())
        config.set_runtime_cache(self._kernels)
        return lambda: self._engine.create_execution_context(config)


def begun(kind: Callable[[Any], Any], log: Any) -> Any:
    """A library's builder or runtime. Raises EngineError where it finds no driver that it can work with.

    The library itself raises a TypeError about a factory function.
    """
    try:
        return kind(log)
    except TypeError as error:
        found = f"{driver_version() or 'none'}, for CUDA up to {cuda_version() or 'none'}"
        raise EngineError(
            f"{kind.__module__.split('.')[0]} does not start with NVIDIA's driver here ({found}); expected a driver "
            "that is not older than the library's CUDA: update the driver, or use the CPU engines"
        ) from error


def unfit(facts: dict[str, Any], gpu: str, version: str) -> str | None:
    """Why an engine with these manifest facts cannot run on this GPU with this version, in words; None when it can."""
    if not gpu:
        return "this machine has no NVIDIA GPU, or no driver; open the .onnx file with engine openvino or onnxruntime"
    if facts.get("gpu", gpu) != gpu:
        return f"it was built for {facts['gpu']} and this GPU is {gpu}; {_instead(facts.get('engine', ''), gpu)}"
    if _release(facts.get("version", version)) != _release(version):
        return f"it was built with version {facts['version']} and {version} is installed; export it again"
    return None


def _instead(engine: str, gpu: str) -> str:
    """How to get an engine for this GPU."""
    kind = ENGINES.get(engine)
    if kind and gpu in kind.gpus:
        return f"export it with --gpu {gpu}"
    return f"{engine} cannot build for it: use --engine tensorrt" if kind and kind.gpus else "build it on this machine"


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
