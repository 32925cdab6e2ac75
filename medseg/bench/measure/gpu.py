"""The GPU that is measured on, as NVIDIA's management library (NVML) knows it: facts, memory and power."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from medseg.bench.record import GpuRecord
from medseg.engines.gpu import gpu_uuid

MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one slice of one; what it does not tell is None: a slice has no power of its own."""

    library: ModuleType
    handle: Any

    def used_mib(self) -> float | None:
        """The memory in use."""
        memory = self._said("nvmlDeviceGetMemoryInfo")
        return memory.used / MIB if memory else None

    def watts(self) -> float | None:
        """The power drawn."""
        milliwatts = self._said("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1000

    def facts(self) -> GpuRecord:
        """What it is."""
        memory, clock = self._said("nvmlDeviceGetMemoryInfo"), self.library.NVML_CLOCK_SM
        return {
            "name": str(self._said("nvmlDeviceGetName") or "unknown"),
            "driver": str(self.library.nvmlSystemGetDriverVersion()),
            "memory_gib": round(memory.total / 2**30, 1) if memory else None,
            "clock_mhz": self._said("nvmlDeviceGetClockInfo", clock),
            "clock_limit_mhz": self._said("nvmlDeviceGetMaxClockInfo", clock),
        }

    def _said(self, call: str, *arguments: int) -> Any:
        with suppress(self.library.NVMLError):
            return getattr(self.library, call)(self.handle, *arguments)
        return None


@contextmanager
def measured_gpu() -> Iterator[Gpu | None]:
    """The GPU that CUDA calls the first visible one; None without NVML's package, a driver or a visible GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no GPU: each has an exception of its own
        yield None
        return
    try:
        yield _found(pynvml)
    finally:
        pynvml.nvmlShutdown()


def _found(library: ModuleType) -> Gpu | None:
    """By the UUID that CUDA says, not by a number: the two count differently, and CUDA_VISIBLE_DEVICES renumbers."""
    wanted = gpu_uuid()
    for prefix in ("MIG-", "GPU-") if wanted else ():
        with suppress(library.NVMLError):
            return Gpu(library, library.nvmlDeviceGetHandleByUUID(f"{prefix}{wanted}"))
    return None
