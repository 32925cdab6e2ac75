"""Limits: what `--fail-on` and a search ask for, and which metrics of an earlier run can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medseg.bench.record import PERCENTILES, Record
from medseg.errors import InputError
from medseg.metrics.voters import is_voters

_LIMIT = re.compile(r"(?P<metric>[\w.-]+):(?P<change>[+-]\d+(\.\d+)?)%")
_AMOUNT = re.compile(r"(?P<value>\d+(\.\d+)?) *(?P<unit>[A-Za-z]+)")
_SECONDS = {"ms": 1e-3, "s": 1.0}
_MEBIBYTES = {"MB": 1e6 / 2**20, "GB": 1e9 / 2**20, "MiB": 1.0, "GiB": 1024.0}
LATENCY = re.compile(r"p(\d{1,2})")


def limits_from(text: str) -> dict[str, float]:
    """`dice:-0.1%,p95:+10%` as {"dice": -0.001, "p95": 0.1}. Raises InputError for anything else."""
    limits = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if not match:
            raise InputError(f"limit {part!r} is not understood; expected METRIC:+N% or METRIC:-N%, such as p95:+10%")
        limits[match["metric"]] = float(match["change"]) / 100
    return limits


def in_seconds(text: str) -> float:
    """`200ms` or `0.2s` in seconds. Raises InputError for anything else."""
    return _amount("--p95", text, _SECONDS, "200ms")


def in_mebibytes(text: str) -> float:
    """`2GB` or `800MiB` in MiB. Raises InputError for anything else."""
    return _amount("--memory", text, _MEBIBYTES, "2GB")


def _amount(option: str, text: str, units: Mapping[str, float], example: str) -> float:
    match = _AMOUNT.fullmatch(text.strip())
    value = float(match["value"]) * units.get(match["unit"], 0.0) if match else 0.0
    if value <= 0:
        raise InputError(f"{option} is {text!r}; expected more than 0 {' or '.join(units)}, such as {example}")
    return value


def usual_limits(before: Record) -> dict[str, float]:
    """What is checked by default: the median, and the task's score if the truth is known."""
    limits = {"score": -0.001, "p50": 0.1}
    return {metric: limit for metric, limit in limits.items() if metric in comparable(before)}


def check_limits(limits: Mapping[str, float], before: Record) -> None:
    """Raise InputError where a limit names a metric that the earlier run lacks: it could never be found worse."""
    known = comparable(before)
    for metric in limits:
        if metric not in known and not LATENCY.fullmatch(metric):
            raise InputError(
                f"--fail-on names {metric!r}, which the earlier run does not have; expected one of {', '.join(known)}"
            )


def comparable(record: Record) -> list[str]:
    """The metrics on which later runs can be compared with this one; of percentiles, the usual ones."""
    under_load = ["throughput"] if any(target["levels"] for target in record["targets"]) else []
    names = [name for target in record["targets"] for scores in target["scores"].values() for name in scores]
    scores = [name for name in dict.fromkeys(names) if not is_voters(name)]
    known = [*(f"p{quantile}" for quantile in PERCENTILES), *under_load, *(["score"] if scores else []), *scores]
    return list(dict.fromkeys(known))
