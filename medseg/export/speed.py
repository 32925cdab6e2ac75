"""Speed: how much faster a file is than fp32.onnx in one engine on this machine; both are called in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from medseg.engines import FASTER, kind_of, open_engine, usual_engine
from medseg.errors import EngineError
from medseg.export.parity import PRECISIONS
from medseg.task import Array

_LEAST, _MOST = 3, 25  # pairs of calls
_SECONDS = 0.6  # after so many seconds no more pairs are made than the least


def speed(file: Path, full: Path, sample: Array, precision: str) -> dict[str, Any]:
    """How many times as fast as `full` the file answers one sample, as facts for the manifest.

    The median of pairs of calls, with the 10th and 90th percentile. If no engine here opens it, the facts say why.
    """
    engine = PRECISIONS[precision].engine or usual_engine(file.suffix)
    if find_spec(kind_of(engine).package) is None:
        return {"measured": False, "because": f"engine {engine} is not installed here"}
    try:
        theirs, ours = open_engine(engine, full), open_engine(engine, file)
    except EngineError as error:
        return {"measured": False, "because": str(error)}
    pairs = np.array(_pairs(lambda: theirs(sample), lambda: ours(sample)))
    theirs.close()
    ours.close()
    return {"measured": True, "engine": engine} | compared(pairs)


def is_faster(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one file, by its facts, is faster than the other; not if either was not measured."""
    return one["measured"] and other["measured"] and bool(one["times"] >= FASTER * other["times"])


def compared(pairs: Array) -> dict[str, Any]:
    """Pairs (n, 2) of seconds, fp32's and the file's, as facts: milliseconds, the speed ratio, and whether faster."""
    times = pairs[:, 0] / pairs[:, 1]
    low, median, high = np.quantile(times, [0.1, 0.5, 0.9])
    fp32_ms, ms = 1e3 * np.median(pairs, axis=0)
    rounded = {"fp32_ms": round(float(fp32_ms), 3), "ms": round(float(ms), 3), "times": round(float(median), 3)}
    spread = {"low": round(float(low), 3), "high": round(float(high), 3)}
    return rounded | spread | {"pairs": len(pairs), "faster": bool(median >= FASTER)}


def _pairs(theirs: Callable[[], Array], ours: Callable[[], Array]) -> list[tuple[float, float]]:
    """Seconds of both, called in turn, so that other work on this machine slows both equally."""
    _seconds(theirs), _seconds(ours)  # a first call may still prepare something
    pairs: list[tuple[float, float]] = []
    while len(pairs) < _LEAST or (len(pairs) < _MOST and sum(map(sum, pairs)) < _SECONDS):
        pairs.append((_seconds(theirs), _seconds(ours)))
    return pairs


def _seconds(call: Callable[[], Array]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started
