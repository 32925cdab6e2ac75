"""ONNX -> TensorRT plans and TensorRT-RTX engines, strongly typed, and what they really hold, read from the network.

TensorRT and TensorRT-RTX are two Python modules with one API. What differs: TensorRT builds for the GPU it runs on and
measures kernels there; TensorRT-RTX is told a compute capability, needs no GPU to build, and compiles kernels when run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from medseg.data.cache import cache_folder
from medseg.engines.gpu import gpu_name
from medseg.errors import EngineError, ExportError
from medseg.export.files import add
from medseg.files import sha256, whole_file
from medseg.run import Run
from medseg.task import Network

MODULES = {"tensorrt": ("tensorrt", "trt", ".plan"), "tensorrt-rtx": ("tensorrt_rtx", "rtx", ".rtx")}
GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120")  # that TensorRT-RTX builds for
LEAST_SHARE = 0.5  # of weight bytes in float16, below which an engine of an FP16 file did not come out as one
# Where a layer of the network keeps weights of its own; all others are fed by constant layers.
WEIGHTS_OF = {
    "CONSTANT": ("IConstantLayer", ("weights",)),
    "CONVOLUTION": ("IConvolutionLayer", ("kernel", "bias")),
    "DECONVOLUTION": ("IDeconvolutionLayer", ("kernel", "bias")),
    "SCALE": ("IScaleLayer", ("scale", "shift", "power")),
}


@dataclass(frozen=True)
class Target:
    """What an engine is built for: the library, the GPU ("" is the one here), and the batches it must take."""

    engine: str = "tensorrt-rtx"
    gpu: str = ""
    batches: tuple[int, int, int] = (1, 4, 8)  # smallest, the one it is tuned for, largest
    workspace_mib: int | None = None  # the library's own limit where None

    @property
    def suffix(self) -> str:
        """The suffix of this library's files."""
        return MODULES[self.engine][2]


def build(run: Run, network: Network, precision: str, target: Target) -> str:
    """Build the run's ONNX file of this precision for a target and record it; the name of the engine's file.

    An engine that is already there for the same ONNX bytes, version, GPU and options is kept as it is.
    Raises ExportError where the library refuses, or where an FP16 file came out as an FP32 engine.
    """
    trt = library(target)
    gpu = device(target)
    source = run.file(precision=precision, suffix=".onnx")
    name = f"{precision}.{gpu}{target.suffix}"
    key = _key(source, trt.__version__, gpu, target)
    recorded = run.files.get(name, {})
    if recorded.get("key") == key and (run.path / name).is_file() and sha256(run.path / name) == recorded["sha256"]:
        return name
    started, log = perf_counter(), _log(trt)
    definition = _parsed(trt, log, source)
    share = half_share(trt, definition)
    if precision == "fp16" and share["weight_bytes"] < LEAST_SHARE:
        raise ExportError(
            f"{name} is not recorded: it came out with {share['weight_bytes']:.0%} of its weight bytes in float16; "
            f"expected at least {LEAST_SHARE:.0%}: export fp16.onnx again"
        )
    plan = _serialized(trt, log, definition, network, target, key)
    facts = {
        "precision": precision,
        "suffix": target.suffix,
        "engine": target.engine,
        "version": trt.__version__,
        "gpu": gpu,
    }
    facts["seconds"] = round(perf_counter() - started, 1)
    add(run, name, plan, facts | {"key": key, "share_fp16": share, "target": asdict(target), "onnx": source.name})
    return name


def library(target: Target) -> ModuleType:
    """The module of the target's library. Raises EngineError naming the package where it is missing."""
    module, extra, _ = MODULES[target.engine]
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineError(f"engine {target.engine!r} needs {module!r}: pip install 'medseg[{extra}]'") from error


def half_share(trt: ModuleType, definition: Any) -> dict[str, float]:
    """The shares of layers and of weight bytes in float16, read from a parsed, strongly typed network.

    The engine holds what the network says: a strongly typed build may not change a type.
    """
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    kinds = (trt.DataType.FLOAT, trt.DataType.HALF)
    moved = (trt.LayerType.CAST, trt.LayerType.CONSTANT)
    computed = [layer.get_output_type(0) for layer in layers if layer.type not in moved]
    floats = [kind for kind in computed if kind in kinds]
    weights = [weights for layer in layers for weights in _weights(trt, layer) if weights.dtype in kinds]
    half_bytes = sum(weights.nbytes for weights in weights if weights.dtype == trt.DataType.HALF)
    all_bytes = sum(weights.nbytes for weights in weights)
    return {
        "layers": round(floats.count(trt.DataType.HALF) / max(len(floats), 1), 4),
        "weight_bytes": round(half_bytes / max(all_bytes, 1), 4),
    }


def shapes(network: Network, batches: Sequence[int]) -> list[tuple[int, ...]]:
    """The smallest, tuned and largest input shapes; free axes: their multiple, the trained size, twice that size."""
    sizes = []
    for factor, batch in enumerate(batches):
        shape = [batch, *network.input_shape]
        for axis, multiple in network.free_axes.items():
            shape[axis] = multiple if factor == 0 else factor * shape[axis]
        sizes.append(tuple(shape))
    return sizes


def device(target: Target) -> str:
    """The GPU an engine is built for, as "sm89". Raises ExportError where the library cannot build for it here."""
    if target.engine == "tensorrt-rtx":
        if target.gpu not in GPUS:
            known = ", ".join(GPUS)
            raise ExportError(f"GPU {target.gpu!r} is unknown to TensorRT-RTX; expected --gpu with one of {known}")
        return target.gpu
    here = gpu_name()
    if not here or target.gpu not in ("", here):
        raise ExportError(
            f"TensorRT builds for the GPU it runs on, here {here or 'none'}, wanted {target.gpu or 'any'}; "
            "build where that GPU is, or use --engine tensorrt-rtx"
        )
    return here


def _key(source: Path, version: str, gpu: str, target: Target) -> str:
    text = json.dumps([sha256(source), version, gpu, asdict(target)])
    return hashlib.sha256(text.encode()).hexdigest()


def _log(trt: ModuleType) -> Any:
    """A logger that keeps the errors: the library tells them to nobody else."""
    errors: list[str] = []

    def log(_: Any, severity: Any, message: str) -> None:
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            errors.append(message)

    def start(self: Any) -> None:
        trt.ILogger.__init__(self)

    return type("Log", (trt.ILogger,), {"__init__": start, "log": log, "errors": errors})()


def _parsed(trt: ModuleType, log: Any, source: Path) -> Any:
    """The ONNX file as a strongly typed network: types are those of the file."""
    builder = trt.Builder(log)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, log)
    if not parser.parse(source.read_bytes()):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise ExportError(
            f"{trt.__name__} cannot read {source}: {reasons or 'no reason given'}; export the ONNX file again"
        )
    return definition


def _serialized(trt: ModuleType, log: Any, definition: Any, network: Network, target: Target, key: str) -> bytes:
    builder = definition.builder
    config = builder.create_builder_config()
    if target.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, target.workspace_mib << 20)
    profile = builder.create_optimization_profile()
    profile.set_shape("input", *shapes(network, target.batches))
    config.add_optimization_profile(profile)
    timings = _configured(trt, config, target, key)
    plan = builder.build_serialized_network(definition, config)
    if plan is None:
        raise ExportError(f"{target.engine} cannot build {network.name}: {'; '.join(log.errors) or 'no reason given'}")
    if timings:
        timings.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(timings) as path:
            path.write_bytes(config.get_timing_cache().serialize())
    return bytes(plan)


def _configured(trt: ModuleType, config: Any, target: Target, key: str) -> Path | None:
    """What truly differs between the two libraries; where TensorRT's measurements are kept between builds."""
    if target.engine == "tensorrt-rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.__members__[target.gpu.upper()], 0)
        return None
    path = cache_folder() / "tensorrt" / f"{key}.timings"
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return path


def _weights(trt: ModuleType, layer: Any) -> list[Any]:
    name, attributes = WEIGHTS_OF.get(layer.type.name, ("ILayer", ()))
    layer.__class__ = getattr(trt, name)  # the bindings hand out the base class, and this is how they are narrowed
    found = [getattr(layer, attribute) for attribute in attributes]
    return [_sized(trt, weights) for weights in found if getattr(weights, "size", 0)]


def _sized(trt: ModuleType, weights: Any) -> Any:
    """Weights come as TensorRT's own record or, from some properties, as a numpy array: one form for both."""
    return weights if isinstance(weights, trt.Weights) else trt.Weights(weights)
