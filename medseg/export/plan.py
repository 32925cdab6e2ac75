"""ONNX -> TensorRT plans and TensorRT-RTX engines with the file's types; their share of low precision is read back.

TensorRT and TensorRT-RTX are two Python modules with one API. TensorRT builds for the GPU on which it runs and measures
kernels there. TensorRT-RTX builds for a named compute capability without a GPU, and compiles kernels when it runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import onnx

from medseg.data.cache import cache_folder
from medseg.engines import kind_of, library
from medseg.engines.gpu import gpu_name
from medseg.engines.tensorrt import begun
from medseg.errors import ExportError
from medseg.export.files import add, write
from medseg.export.readback import LEAST_SHARE, share
from medseg.export.signs import unsigned_tensors
from medseg.export.weakly import is_weakly_typed, older, tell_types
from medseg.files import sha256
from medseg.run import Run
from medseg.task import Network


@dataclass(frozen=True)
class GpuBuild:
    """What an engine is built for: the library, the GPU ("" is the GPU of this machine), and the batch sizes."""

    engine: str = "tensorrt-rtx"
    gpu: str = ""
    batches: tuple[int, int, int] = (1, 4, 8)  # smallest, the size it is tuned for, largest
    workspace_mib: int | None = None  # None: the library's own limit
    tf32: bool = False  # whether an fp32 file may be computed in TF32; the engine's name then says so

    @property
    def suffix(self) -> str:
        """The suffix of this library's files."""
        return kind_of(self.engine).suffix


def build(run: Run, network: Network, precision: str, gpu_build: GpuBuild, command: str = "") -> str:
    """Build an engine from the run's ONNX file of this precision and record it. Returns the name of the engine's file.

    An engine that is already there for the same ONNX bytes, version, GPU and options is kept.
    Raises ExportError if the library refuses, or if an FP16 or int8 file became an FP32 engine.
    """
    trt = library(gpu_build.engine)
    gpu = device(gpu_build)
    source = run.file(precision=precision, suffix=".onnx")
    precision = "tf32" if gpu_build.tf32 and precision == "fp32" else precision
    name = f"{precision}.{gpu}{gpu_build.suffix}"
    key = _key(source, trt.__version__, gpu, gpu_build)
    recorded = run.files.get(name, {})
    if recorded.get("key") == key and (run.path / name).is_file() and sha256(run.path / name) == recorded["sha256"]:
        return name
    started, parsed = perf_counter(), _parsed(trt, source)
    config = parsed.builder.create_builder_config()
    if parsed.untyped:
        tell_types(trt, config, parsed.definition, parsed.untyped)
    held = _worthy(name, precision, share(trt, parsed.definition, precision))
    _configure(trt, config, gpu_build)
    _profiled(parsed, config, network, gpu_build)
    plan = _serialized(parsed, config, network, gpu_build, key)
    facts = {
        "precision": precision,
        "suffix": gpu_build.suffix,
        "engine": gpu_build.engine,
        "version": trt.__version__,
        "gpu": gpu,
        "seconds": round(perf_counter() - started, 1),
        "key": key,
        "share_int8" if precision == "int8" else "share_fp16": held,
        "target": asdict(gpu_build),
        "onnx": source.name,
        "command": command,
    }
    add(run, name, plan, facts)
    return name


def shapes(network: Network, batches: Sequence[int]) -> list[tuple[int, ...]]:
    """The smallest, tuned and largest input shapes. Free axes have their multiple, the trained size, and twice it."""
    sizes = []
    for factor, batch in enumerate(batches):
        shape = [batch, *network.input_shape]
        for axis, multiple in network.free_axes.items():
            shape[axis] = multiple if factor == 0 else factor * shape[axis]
        sizes.append(tuple(shape))
    return sizes


def device(gpu_build: GpuBuild) -> str:
    """The GPU an engine is built for, such as "sm89". Raises ExportError if the library cannot build for it here."""
    if kind_of(gpu_build.engine).builds == "anywhere":
        known = kind_of(gpu_build.engine).gpus
        if gpu_build.gpu not in known:
            raise ExportError(
                f"TensorRT-RTX cannot build for GPU {gpu_build.gpu!r}; expected --gpu with {' or '.join(known)}: "
                "for another GPU use --engine tensorrt on a machine that has it"
            )
        return gpu_build.gpu
    here = gpu_name()
    if not here or gpu_build.gpu not in ("", here):
        raise ExportError(
            f"TensorRT builds only for the GPU of this machine, {here or 'none'}, wanted {gpu_build.gpu or 'any'}; "
            "build on a machine with that GPU, or use --engine tensorrt-rtx"
        )
    return here


def _worthy(name: str, precision: str, held: dict[str, float]) -> dict[str, float]:
    """The shares, if the engine has enough of its precision. Raises ExportError if it has not."""
    least = LEAST_SHARE.get(precision, 0.0)
    if held["weight_bytes"] < least:
        kind = "int8" if precision == "int8" else "float16"
        raise ExportError(
            f"{name} is not recorded: it has {held['weight_bytes']:.0%} of its weight bytes in {kind}; "
            f"expected at least {least:.0%}: export {precision}.onnx again"
        )
    return held


def _key(source: Path, version: str, gpu: str, gpu_build: GpuBuild) -> str:
    text = json.dumps([sha256(source), version, gpu, asdict(gpu_build)])
    return hashlib.sha256(text.encode()).hexdigest()


def _log(trt: ModuleType) -> Any:
    """A logger that keeps errors, because the library reports them only to its logger."""
    errors: list[str] = []

    def log(_: Any, severity: Any, message: str) -> None:
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            errors.append(message)

    def start(self: Any) -> None:
        trt.ILogger.__init__(self)

    return type("Log", (trt.ILogger,), {"__init__": start, "log": log, "errors": errors})()


@dataclass(frozen=True)
class Parsed:
    """An ONNX file as a library's own network, with the objects that must live as long as it does."""

    log: Any
    builder: Any
    definition: Any
    untyped: onnx.ModelProto | None  # the graph, if the network does not hold its types (TensorRT 8)


def _parsed(trt: ModuleType, source: Path) -> Parsed:
    """The ONNX file as a strongly typed network with the file's types. For TensorRT 8 they are set afterwards."""
    log, flags = _log(trt), trt.NetworkDefinitionCreationFlag
    untyped = _read(trt, source) if is_weakly_typed(trt) else None
    builder = begun(trt.Builder, log)
    definition = builder.create_network(1 << int(flags.EXPLICIT_BATCH if untyped else flags.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, log)
    if not parser.parse(untyped.SerializeToString() if untyped else source.read_bytes()):
        reasons = "; ".join(_reason(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(
            f"{trt.__name__} cannot read {source}: {reasons or 'no reason given'}; export the ONNX file again"
        )
    if unsigned := unsigned_tensors(untyped or onnx.load(source)):
        raise ExportError(
            f"{trt.__name__} cannot build {source}: it reads {len(unsigned)} unsigned 8-bit tensors, such as "
            f"{unsigned[0]!r}, as signed ones, and would cut them off at half of their range; expected signed ones: "
            "export int8.onnx again, together with the engine"
        )
    return Parsed(log, builder, definition, untyped)


def _read(trt: ModuleType, source: Path) -> onnx.ModelProto:
    """The ONNX file in an opset that TensorRT 8 reads. Raises ExportError if it cannot be read."""
    try:
        return older(onnx.load(source))
    except Exception as error:  # for damaged files protobuf and the converter raise many kinds of errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(f"{trt.__name__} cannot read {source}: {reason[:200]}; export the ONNX file again") from error


def _reason(error: Any) -> str:
    """What the parser could not read, in words. For an unsupported operator its description is only "false".

    TensorRT 8 gives no operator names, but useful descriptions.
    """
    if not hasattr(error, "node_operator"):
        return str(error.desc()).strip()
    if error.code().name == "UNSUPPORTED_NODE":
        return f"it has no operator {error.node_operator()} ({error.node_name()})"
    return f"{error.node_operator()} {error.desc()}".strip()


def _configure(trt: ModuleType, config: Any, gpu_build: GpuBuild) -> None:
    """Set the options. FP32 is computed in FP32; TF32, whose mantissa has 10 bits, is used only if it is asked for.

    The engine keeps its layers' types, so that they can be read back.
    """
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not gpu_build.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if gpu_build.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, gpu_build.workspace_mib << 20)
    if kind_of(gpu_build.engine).builds == "anywhere":
        config.num_compute_capabilities = 1
        capability = trt.ComputeCapability.__members__[gpu_build.gpu.upper()]
        _taken(config.set_compute_capability(capability, 0), gpu_build, f"GPU {gpu_build.gpu}")


def _profiled(parsed: Parsed, config: Any, network: Network, gpu_build: GpuBuild) -> None:
    """Set the input shapes that the engine must accept."""
    profile = parsed.builder.create_optimization_profile()
    profile.set_shape("input", *shapes(network, gpu_build.batches))
    _taken(config.add_optimization_profile(profile) >= 0, gpu_build, f"batches {gpu_build.batches} of {network.name}")


def _serialized(parsed: Parsed, config: Any, network: Network, gpu_build: GpuBuild, key: str) -> bytes:
    """The built engine. TensorRT's measurements are kept for the next build; TensorRT-RTX measures nothing."""
    timings = cache_folder() / "tensorrt" / f"{key}.timings" if kind_of(gpu_build.engine).builds == "here" else None
    if timings:
        known = config.create_timing_cache(_timings(timings))
        _taken(config.set_timing_cache(known, ignore_mismatch=False), gpu_build, f"the timings in {timings}")
    plan = parsed.builder.build_serialized_network(parsed.definition, config)
    if plan is None:
        reason = "; ".join(parsed.log.errors) or "no reason given"
        raise ExportError(f"{gpu_build.engine} cannot build {network.name}: {reason}")
    if timings:
        write(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _taken(accepted: bool, gpu_build: GpuBuild, what: str) -> None:
    """Raise ExportError if the library did not accept a setting."""
    if not accepted:
        raise ExportError(f"{gpu_build.engine} does not take {what}; expected a supported setting: choose another")


def _timings(path: Path) -> bytes:
    """The measurements of earlier builds; empty before the first. Raises ExportError if they cannot be read."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); expected a timing cache: remove it") from error
