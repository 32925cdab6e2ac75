"""Machine: what a measurement was made on, how busy it was, and the memory and power used meanwhile."""

from __future__ import annotations

import os
import platform
import timeit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil

from medseg.bench.measure.gpu import MIB, measured_gpu
from medseg.bench.record import GpuRecord, MachineRecord
from medseg.engines import ENGINES

BUSY = 0.25  # if others used more than this share of the cores during a measurement, times mean little
PACKAGES = (
    *("medseg", "numpy"),
    *(name for kind in ENGINES.values() for name in kind.distributions or (kind.package,)),
    *("nvidia-dali-cuda130", "nvidia-dali-cuda120", "nvidia-pytriton", "tritonclient"),
)


def facts() -> MachineRecord:
    """The machine: processor, cores, memory, load, GPU where there is one, and the versions that matter."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "clock_mhz": round(psutil.cpu_freq().current) if psutil.cpu_freq() else None,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_at_start": [round(value, 2) for value in psutil.getloadavg()],
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "gpu": _gpu_facts(),
        "versions": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
    }


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def yardstick_s() -> float:
    """Seconds of a fixed calculation on one core, the shortest of many tries: was the machine itself slower?"""
    numbers = np.linspace(0.0, 1.0, 50_000)
    return min(timeit.repeat(lambda: np.exp(numbers), number=1, repeat=100))


@dataclass
class Usage:
    """Peaks and means while a target was measured."""

    peak_client_mib: float = 0.0
    peak_server_mib: float = 0.0
    peak_gpu_mib: float | None = None
    mean_gpu_watts: float | None = None
    busy: float = 0.0  # share of the cores that processes other than ours used
    samples: list[tuple[float, float]] = field(default_factory=list)  # MiB of client and server, over time


@contextmanager
def sampling(pids: Sequence[int], every_s: float = 0.2) -> Iterator[Usage]:
    """Sample memory, GPU and load in the background; the usage is complete when the block ends."""
    usage, stop = Usage(), Event()
    sampler = Thread(target=_sample, args=(usage, stop, pids, every_s), daemon=True)
    before = _cpu_seconds(pids)
    sampler.start()
    try:
        yield usage
    finally:
        stop.set()
        sampler.join()
        usage.busy = _others_share(before, _cpu_seconds(pids))


def _sample(usage: Usage, stop: Event, pids: Sequence[int], every_s: float) -> None:
    watts: list[float] = []
    with measured_gpu() as gpu:
        while not stop.wait(every_s):
            client, server = _rss_mib([os.getpid()]), _rss_mib(pids)
            usage.samples.append((client, server))
            usage.peak_client_mib = max(usage.peak_client_mib, client)
            usage.peak_server_mib = max(usage.peak_server_mib, server)
            used, drawn = (gpu.used_mib(), gpu.watts()) if gpu else (None, None)
            if used is not None:
                usage.peak_gpu_mib = max(usage.peak_gpu_mib or 0.0, used)
            if drawn is not None:
                watts.append(drawn)
    usage.mean_gpu_watts = sum(watts) / len(watts) if watts else None


def _family(pids: Sequence[int]) -> list[psutil.Process]:
    family: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.Error):
            parent = psutil.Process(pid)
            family += [parent] if pid == os.getpid() else [parent, *parent.children(recursive=True)]
    return family


def _rss_mib(pids: Sequence[int]) -> float:
    total = 0
    for process in _family(pids):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total / MIB


def _cpu_seconds(pids: Sequence[int]) -> tuple[float, float, float]:
    """Seconds that all cores were busy, that all cores had, and that our own processes used, since they began."""
    times, own = psutil.cpu_times(), 0.0
    for process in _family([os.getpid(), *pids]):
        with suppress(psutil.Error):
            used = process.cpu_times()
            own += used.user + used.system
    idle = times.idle + getattr(times, "iowait", 0.0)
    return sum(times[:8]) - idle, sum(times[:8]), own


def _others_share(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    busy, available, own = (end - begin for begin, end in zip(before, after, strict=True))
    return max(0.0, busy - own) / available if available else 0.0


def _gpu_facts() -> GpuRecord | None:
    with measured_gpu() as gpu:
        return gpu.facts() if gpu else None
