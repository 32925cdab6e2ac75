"""The GPU of this machine, through the CUDA runtime alone: asking must not cost an import of torch."""

from __future__ import annotations

import shutil
import subprocess
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
    """The installed driver's own version, such as "580.82.07", from its nvidia-smi; "" where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer[0] if answer else ""


def cuda_version() -> str:
    """The newest CUDA that the installed driver takes, such as "13.0"; "" without a driver or CUDA's package."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        return ""
    error, version = runtime.cudaDriverGetVersion()
    if error != runtime.cudaError_t.cudaSuccess or not version:
        return ""
    return f"{version // 1000}.{version % 1000 // 10}"


def checked(answer: tuple[Any, ...]) -> Any:
    """What a CUDA call answered, without its error code. Raises EngineError where the code is not success."""
    error, *values = answer
    if error.value:
        raise EngineError(f"CUDA answered {error.name}; expected success: check the driver and the GPU's memory")
    return values[0] if values else None
