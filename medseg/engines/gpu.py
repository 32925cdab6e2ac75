"""The GPU of this machine, through the CUDA runtime alone: asking must not cost an import of torch."""

from __future__ import annotations

from typing import Any

from medseg.errors import EngineError


def gpu_name() -> str:
    """The first GPU's compute capability as "sm89", or "" where there is no GPU, no driver or no CUDA package."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        return ""
    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess or not count:
        return ""
    attributes = runtime.cudaDeviceAttr
    major = checked(runtime.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMajor, 0))
    minor = checked(runtime.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMinor, 0))
    return f"sm{major}{minor}"


def driver_version() -> str:
    """The newest CUDA that the installed driver takes, as "CUDA 13.0", or "" without a driver."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        return ""
    error, version = runtime.cudaDriverGetVersion()
    if error != runtime.cudaError_t.cudaSuccess or not version:
        return ""
    return f"CUDA {version // 1000}.{version % 1000 // 10}"


def checked(answer: tuple[Any, ...]) -> Any:
    """What a CUDA call answered, without its error code. Raises EngineError where the code is not success."""
    error, *values = answer
    if error.value:
        raise EngineError(f"CUDA answered {error.name}; expected success: check the driver and the GPU's memory")
    return values[0] if values else None
