"""Compare: whether it got worse since last time, by more than the noise of both runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from medseg.bench.record import Record
from medseg.errors import InputError
from medseg.task import Array

ENOUGH = 5  # requests; the spread of fewer says nothing, and a percentile needs one request beyond it
_RESAMPLES = 1000
_BLOCKS = 10  # neighbouring requests share their disturbances, so whole blocks of them are resampled
_LIMIT = re.compile(r"(?P<metric>[\w.-]+):(?P<change>[+-]\d+(\.\d+)?)%")
_LATENCY = re.compile(r"p(\d{1,2})")

OK, WORSE, UNCLEAR = "ok", "worse", "unclear"


@dataclass(frozen=True)
class Check:
    """One number of one target, then and now. Changes are relative: 0.1 is 10 % more than before."""

    target: str
    what: str
    before: float
    after: float
    change: float
    low: float  # 95 % band of the change
    high: float
    limit: float
    verdict: str  # ok, worse, or unclear: too few requests to tell
    unit: str = ""


def limits_from(text: str) -> dict[str, float]:
    """`dice:-0.1%,p95:+10%` as {"dice": -0.001, "p95": 0.1}. Raises InputError for anything else."""
    limits = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if not match:
            raise InputError(f"limit {part!r} is not understood; expected METRIC:+N% or METRIC:-N%, such as p95:+10%")
        limits[match["metric"]] = float(match["change"]) / 100
    return limits


def compare(before: Record, after: Record, limits: Mapping[str, float]) -> list[Check]:
    """Every limit checked on every target that both runs measured.

    A latency is worse when its change exceeds the limit and the 95 % band of the change excludes none; a score is
    compared on the same cases, where there is no sampling noise. Raises InputError where nothing can be compared.
    """
    then = {target["name"]: target for target in before["targets"]}
    pairs = [(then[target["name"]], target) for target in after["targets"] if target["name"] in then]
    if before["task"] != after["task"] or not pairs:
        known = ", ".join(then)
        raise InputError(
            f"nothing to compare: the earlier run measured {before['task']} on {known}; expected the same targets"
        )
    return [
        check for old, new in pairs for metric, limit in limits.items() for check in _checks(old, new, metric, limit)
    ]


def _checks(old: Record, new: Record, metric: str, limit: float) -> Iterator[Check]:
    if quantile := _LATENCY.fullmatch(metric):
        yield from _latency_checks(old, new, int(quantile[1]), limit)
    elif metric == "throughput":
        yield from _throughput_checks(old, new, limit)
    else:
        yield from _score_check(old, new, metric, limit)


def _latency_checks(old: Record, new: Record, quantile: int, limit: float) -> Iterator[Check]:
    drift = abs(math.log((new["yardstick_s"] or 1.0) / (old["yardstick_s"] or 1.0)))
    earlier = _series(old)
    for where, now_s in _series(new).items():
        then_s = earlier.get(where, [])
        if now_s and then_s:
            what = f"p{quantile}, {where}"
            few = min(len(now_s), len(then_s)) < max(ENOUGH, 100 / (100 - quantile))
            middle = float(np.percentile(then_s, quantile)), float(np.percentile(now_s, quantile))
            band = None if few else _band(_resampled(then_s, quantile), _resampled(now_s, quantile), drift)
            yield _judged(new["name"], what, middle, band, limit, "s")


def _throughput_checks(old: Record, new: Record, limit: float) -> Iterator[Check]:
    earlier = {(level["mode"], level["load"]): level for level in old["levels"]}
    for level in new["levels"]:
        if then := earlier.get((level["mode"], level["load"])):
            rates = [np.array([window["per_s"] for window in one["windows"]]) for one in (then, level)]
            few = min(map(len, rates)) < 3 or not min(rate.min(initial=1) for rate in rates)
            middle = then["per_s"], level["per_s"]
            band = None if few else _band(_means(rates[0]), _means(rates[1]), 0.0)
            yield _judged(new["name"], f"throughput, {level['load']:g} {level['mode']}", middle, band, limit, "/s")


def _score_check(old: Record, new: Record, metric: str, limit: float) -> Iterator[Check]:
    names = [name for scores in new["scores"].values() for name in scores]
    name = names[0] if metric == "score" and names else metric
    cases = [case for case in new["scores"] if name in new["scores"][case] and name in old["scores"].get(case, {})]
    if cases:
        pairs = np.array([(old["scores"][case][name], new["scores"][case][name]) for case in cases])
        middle = float(pairs[:, 0].mean()), float(pairs[:, 1].mean())
        change = _change(*middle)
        yield _judged(new["name"], name, middle, (change, change), limit, "")


def _judged(
    target: str, what: str, values: tuple[float, float], band: tuple[float, float] | None, limit: float, unit: str
) -> Check:
    """A check's verdict; without a band there was too little to tell."""
    change, beyond = _change(*values), 1.0 if limit > 0 else -1.0
    low, high = band or (-1.0, 1.0)
    exceeds = change * beyond > abs(limit)
    certain = min(low * beyond, high * beyond) > 0
    verdict = UNCLEAR if band is None else WORSE if exceeds and certain else OK
    return Check(target, what, *values, change, low, high, limit, verdict, unit)


def _change(before: float, after: float) -> float:
    return 0.0 if before == after else (after / before - 1 if before else math.copysign(1.0, after))


def _series(target: Record) -> dict[str, list[float]]:
    """Latencies in seconds of the answered requests, one at a time and at every level of load."""
    serial = [row["done_s"] - row["intended_s"] for row in target["serial"]["timings"] if row["error"] is None]
    found = {"one at a time": serial}
    for level in target["levels"]:
        raw = level["timings"]
        rows = zip(raw["done_s"], raw["intended_s"], raw["error"], strict=True)
        found[f"{level['load']:g} {level['mode']}"] = [done - due for done, due, error in rows if error is None]
    return found


def _resampled(latencies_s: Sequence[float], quantile: int) -> Array:
    """The quantile of bootstrap resamples of whole blocks of neighbouring requests."""
    draw = np.random.default_rng(0)
    blocks = np.array_split(np.asarray(latencies_s), min(_BLOCKS, len(latencies_s)))
    picks = draw.integers(len(blocks), size=(_RESAMPLES, len(blocks)))
    return np.array([np.percentile(np.concatenate([blocks[one] for one in pick]), quantile) for pick in picks])


def _means(rates: Array) -> Array:
    draw = np.random.default_rng(0)
    return draw.choice(rates, (_RESAMPLES, len(rates))).mean(1)


def _band(then: Array, now: Array, drift: float) -> tuple[float, float]:
    """95 % band of the relative change, widened by what the bare machine changed meanwhile (a log ratio)."""
    ratio = np.log(np.random.default_rng(1).permutation(now) / then)
    low, high = np.percentile(ratio, (2.5, 97.5))
    return math.expm1(low - drift), math.expm1(high + drift)


def junit(checks: Sequence[Check], task: str) -> bytes:
    """The checks as JUnit XML: one test case each, `worse` a failure, `unclear` skipped."""
    counts = {verdict: str(sum(check.verdict == verdict for check in checks)) for verdict in (WORSE, UNCLEAR)}
    suite = ElementTree.Element(
        "testsuite",
        name=f"medseg bench {task}",
        tests=str(len(checks)),
        failures=counts[WORSE],
        skipped=counts[UNCLEAR],
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=check.target, name=check.what)
        if check.verdict == WORSE:
            ElementTree.SubElement(case, "failure", message=sentence(check))
        if check.verdict == UNCLEAR:
            ElementTree.SubElement(case, "skipped", message=sentence(check))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, "utf-8", xml_declaration=True)


def sentence(check: Check) -> str:
    """What was found, in words."""
    reason = " (too few requests or windows to tell)" if check.verdict == UNCLEAR else ""
    values = f"{check.before:.4g}{check.unit} before, {check.after:.4g}{check.unit} now, {check.change:+.1%}"
    band = f"95 % band {check.low:+.1%} to {check.high:+.1%}, limit {check.limit:+.1%}"
    return f"{check.target}: {check.what} {check.verdict}{reason}: {values} ({band})"
