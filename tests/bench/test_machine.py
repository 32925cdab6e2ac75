import os
import sys

import pytest

from medseg.bench.measure.machine import facts, sampling
from tests.bench.servers import busy


def test_without_nvidias_library_memory_and_load_are_sampled_and_the_gpu_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it then raises, as if it were not installed
    assert facts()["gpu"] is None
    with sampling([os.getpid()], every_s=0.01) as usage:
        busy(0.1)(1)
    assert usage.peak_client_mib > 10 and usage.samples
    assert usage.peak_gpu_mib is None and usage.mean_gpu_watts is None
