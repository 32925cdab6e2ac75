"""The time of a call: the median of many calls, and their spread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

_FEWEST, _MOST = 5, 300


def spread(work: Callable[[], object], least_s: float, warm: int = 2) -> dict[str, float]:
    """Milliseconds of a blocking call: median, 10th and 90th percentile, and the number of calls."""
    for _ in range(warm):
        work()
    times: list[float] = []
    while len(times) < _FEWEST or (sum(times) < least_s and len(times) < _MOST):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    low, middle, high = (round(1e3 * float(value), 3) for value in np.quantile(times, [0.1, 0.5, 0.9]))
    return {"ms": middle, "10 %": low, "90 %": high, "calls": len(times)}
