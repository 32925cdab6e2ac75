"""Tier 1: facts about this machine, whether its sensors work, and the tests that need a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.sheet import Facts, Sheet, ShortError
from medseg.bench.measure.machine import facts, sampling
from medseg.engines.gpu import cuda_version, driver_version, gpu_name

ROOT = Path(__file__).parents[2]


def run(setting: Setting, sheet: Sheet) -> None:
    """Device, software, sensors, the findings of `medseg doctor`, and the tests."""
    sheet.item("device", _device)
    sheet.item("software", _software)
    sheet.item("sensors under load", lambda: _sensors(setting))
    sheet.item("medseg doctor", _doctor)
    sheet.item("tests marked gpu", lambda: _tests(setting))


def _device() -> Facts:
    found = facts()
    gpu: Mapping[str, Any] = found["gpu"] or {}
    names = {"GPU": gpu.get("name", ""), "capability": gpu_name(), "memory, GiB": gpu.get("memory_gib")}
    clocks = {"driver": driver_version(), "CUDA up to": cuda_version(), "clock limit, MHz": gpu.get("clock_limit_mhz")}
    return names | clocks | {"processor": found["cpu"], "cores": found["cores"], "RAM, GiB": found["memory_gib"]}


def _software() -> Facts:
    import torch

    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    own = {"torch": torch.__version__, "CUDA of torch": torch.version.cuda, "cuDNN": cudnn}
    return own | facts()["versions"]


def _sensors(setting: Setting) -> Facts:
    """Memory and power while the device multiplies matrices."""
    import torch

    size, times = (64, 1) if setting.rehearsal else (8192, 40)
    with sampling([os.getpid()], every_s=0.05) as usage:
        held = torch.rand(size, size, device=setting.device)
        started = time.perf_counter()
        for _ in range(times):
            held = (held @ held).clamp(-1, 1)
        float(held.sum())
        seconds = time.perf_counter() - started
        time.sleep(0.2)
    rate = 2 * size**3 * times / seconds / 1e12
    return {"FP32, TFLOP/s": round(rate, 2), "peak MiB": usage.peak_gpu_mib, "watts": usage.mean_gpu_watts}


def _doctor() -> Facts:
    command = [sys.executable, "-m", "medseg", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    found = json.loads(done.stdout)["findings"]
    return {one["what"]: f"{one['state']}: {one['fact']}" for one in found}


class _Outcomes:
    """A pytest plugin that counts tests by outcome."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.counts["collected"] = len(session.items)


def _tests(setting: Setting) -> Facts:
    """Runs the tests marked `gpu`, only in files that hold some, because collecting all files takes longer."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    how = ["--collect-only"] if setting.rehearsal else ["-rs"]
    outcomes = _Outcomes()
    os.chdir(ROOT)
    code = int(pytest.main(["-p", "no:cacheprovider", "-m", "gpu", *how, *files], [outcomes]))
    if setting.rehearsal and not code:
        raise ShortError("collected, not run: they need a GPU", outcomes.counts)
    if code:
        raise RuntimeError(f"pytest ended with code {code}, see facts.log: {dict(outcomes.counts)}")
    return outcomes.counts
