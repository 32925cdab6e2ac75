"""The GPU of this machine, asked of NVIDIA's driver alone: no package is needed, and none is imported for it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import uuid
from typing import Any

from medseg.errors import EngineError

_MAJOR, _MINOR = 75, 76  # the driver's numbers of the two attributes that make the compute capability


def gpu_name() -> str:
    """The first visible GPU's compute capability as "sm89", or "" where there is no GPU or no driver."""
    driver = _started()
    if driver is None or not _number(driver.cuDeviceGetCount):
        return ""
    device = _number(driver.cuDeviceGet, 0)
    return "sm" + "".join(str(_number(driver.cuDeviceGetAttribute, which, device)) for which in (_MAJOR, _MINOR))


def gpu_uuid() -> str:
    """The first visible GPU's UUID, of a MIG slice the slice's own, without NVIDIA's prefix; "" where there is none."""
    driver = _started()
    if driver is None or not _number(driver.cuDeviceGetCount):
        return ""
    found = (ctypes.c_ubyte * 16)()
    ask = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
    return "" if ask(ctypes.byref(found), _number(driver.cuDeviceGet, 0)) else str(uuid.UUID(bytes=bytes(found)))


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
    """The newest CUDA that the installed driver takes, such as "13.0"; "" without a driver."""
    driver = _library()
    version = _number(driver.cuDriverGetVersion) if driver else 0
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""


def checked(answer: tuple[Any, ...]) -> Any:
    """What a CUDA call answered, without its error code. Raises EngineError where the code is not success."""
    error, *values = answer
    if error.value:
        raise EngineError(f"CUDA answered {error.name}; expected success: check the driver and the GPU's memory")
    return values[0] if values else None


def _library() -> Any:
    """The driver's library, None where it is not installed."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _started() -> Any:
    """The driver's library, ready to be asked; None without a driver, or where it finds no GPU."""
    driver = _library()
    return driver if driver and driver.cuInit(0) == 0 else None


def _number(call: Any, *arguments: int) -> int:
    """The number that a call of the driver writes to its first argument; 0 where it fails."""
    found = ctypes.c_int()
    return found.value if call(ctypes.byref(found), *arguments) == 0 else 0
