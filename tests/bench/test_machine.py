import os
import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from medseg.bench.measure.machine import facts, sampling
from medseg.engines import gpu
from tests.bench.servers import busy
from tests.engines.cuda import driver


def test_without_nvidias_library_memory_and_load_are_sampled_and_the_gpu_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it then raises, as if it were not installed
    assert facts()["gpu"] is None
    with sampling([os.getpid()], every_s=0.01) as usage:
        busy(0.1)(1)
    assert usage.peak_client_mib > 10 and usage.samples
    assert usage.peak_gpu_mib is None and usage.mean_gpu_watts is None


class _Nvml(ModuleType):
    """NVIDIA's management library on a machine with two GPUs; a slice of the second has no power and no clocks."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    HANDLES: ClassVar = {"GPU-00010203-": "first", "GPU-10111213-": "second", "MIG-10111213-": "slice"}

    def __init__(self, sliced: bool) -> None:
        super().__init__("pynvml")
        self.sliced = sliced
        for name in ("nvmlInit", "nvmlShutdown"):
            setattr(self, name, lambda: None)
        self.nvmlSystemGetDriverVersion = lambda: "580.82.07"
        self.nvmlDeviceGetName = lambda handle: f"the {handle}"
        self.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(used=3 << 20, total=80 << 30)
        self.nvmlDeviceGetHandleByUUID = self._by_uuid
        self.nvmlDeviceGetPowerUsage = lambda handle: self._unless_sliced(250_000)
        self.nvmlDeviceGetClockInfo = self.nvmlDeviceGetMaxClockInfo = lambda handle, _: self._unless_sliced(1980)

    def _by_uuid(self, uuid: str) -> str:
        if uuid[:13] not in self.HANDLES or (uuid.startswith("MIG") != self.sliced):
            raise self.NVMLError
        return self.HANDLES[uuid[:13]]

    def _unless_sliced(self, value: int) -> int:
        if self.sliced:
            raise self.NVMLError
        return value


@pytest.mark.parametrize(
    ("visible", "sliced", "name", "watts", "clock"),
    [
        (("0", "1"), False, "the first", 250, 1980),
        (("1",), False, "the second", 250, 1980),
        (("1", "0"), False, "the second", 250, 1980),
        (("1",), True, "the slice", None, None),
    ],
)
def test_the_gpu_that_cuda_sees_is_measured_and_what_it_does_not_tell_is_none(
    monkeypatch: pytest.MonkeyPatch, visible: tuple[str, ...], sliced: bool, name: str, watts: int, clock: int
):
    monkeypatch.setitem(sys.modules, "pynvml", _Nvml(sliced))
    monkeypatch.setattr(gpu, "_library", lambda: driver(visible))
    found = facts()["gpu"]
    assert (found["name"], found["memory_gib"], found["clock_mhz"]) == (name, 80, clock)
    with sampling([os.getpid()], every_s=0.01) as usage:
        busy(0.1)(1)
    assert (usage.peak_gpu_mib, usage.mean_gpu_watts) == (3, watts) and usage.samples


def test_a_gpu_that_is_hidden_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", _Nvml(False))
    monkeypatch.setattr(gpu, "_library", lambda: driver(()))
    assert facts()["gpu"] is None
