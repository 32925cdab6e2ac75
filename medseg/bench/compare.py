"""Compare: whether it got worse since last time, by more than the noise of both runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from medseg.bench.record import PERCENTILES, Record
from medseg.bench.tables import seconds
from medseg.errors import InputError
from medseg.metrics.voters import is_voters
from medseg.task import Array

ENOUGH = 5  # requests; the spread of fewer says nothing, and a percentile needs one request beyond it
_RESAMPLES = 1000
_TICK_S = 1e-6  # what times are rounded to; a target that answers sooner took no less
_BLOCKS = 10  # neighbouring rounds and cases share their disturbances, so whole blocks of them are resampled
_LIMIT = re.compile(r"(?P<metric>[\w.-]+):(?P<change>[+-]\d+(\.\d+)?)%")
_LATENCY = re.compile(r"p(\d{1,2})")

_COLUMNS = ("case", "intended_s", "done_s", "error")
_Series = list[tuple[str, float]]  # case and latency in seconds of every answered request, in the order sent

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


def usual_limits(before: Record) -> dict[str, float]:
    """What is checked where nothing is asked for: the median, and the task's score where the truth is known."""
    limits = {"score": -0.001, "p50": 0.1}
    return {metric: limit for metric, limit in limits.items() if metric in comparable(before)}


def check_limits(limits: Mapping[str, float], before: Record) -> None:
    """Raise InputError where a limit names what the earlier run has not: it could never be found worse."""
    known = comparable(before)
    for metric in limits:
        if metric not in known and not _LATENCY.fullmatch(metric):
            raise InputError(
                f"--fail-on names {metric!r}, which the earlier run has not; expected one of {', '.join(known)}"
            )


def comparable(record: Record) -> list[str]:
    """What a run's later repeats can be compared on; of percentiles, the usual ones."""
    under_load = ["throughput"] if any(target["levels"] for target in record["targets"]) else []
    names = [name for target in record["targets"] for scores in target["scores"].values() for name in scores]
    scores = [name for name in dict.fromkeys(names) if not is_voters(name)]
    known = [*(f"p{quantile}" for quantile in PERCENTILES), *under_load, *(["score"] if scores else []), *scores]
    return list(dict.fromkeys(known))


def compare(before: Record, after: Record, limits: Mapping[str, float]) -> list[Check]:
    """Every limit checked on every target that both runs measured.

    A latency is worse when its change exceeds the limit and the 95 % band of the change excludes none; a score is
    compared on the same cases, where there is no sampling noise. Raises InputError where the targets are others, or
    where both runs answered everything and a limit still finds nothing in common.
    """
    then = {target["name"]: target for target in before["targets"]}
    pairs = [(then[target["name"]], target) for target in after["targets"] if target["name"] in then]
    if before["task"] != after["task"] or not pairs:
        known = ", ".join(then)
        raise InputError(
            f"nothing to compare: the earlier run measured {before['task']} on {known}; expected the same targets"
        )
    metrics = {"score": after["main"]}
    found = {
        metric: [check for old, new in pairs for check in _checks(old, new, metrics.get(metric, metric), limit)]
        for metric, limit in limits.items()
    }
    empty = [metric for metric, checks in found.items() if not checks]
    if empty and not any(target["problems"] for pair in pairs for target in pair):
        raise InputError(
            f"nothing to compare {', '.join(empty)} on; expected cases with known truth, or levels of load, as before"
        )
    return [check for checks in found.values() for check in checks]


def _checks(old: Record, new: Record, metric: str, limit: float) -> Iterator[Check]:
    if quantile := _LATENCY.fullmatch(metric):
        yield from _latency_checks(old, new, int(quantile[1]), limit)
    elif metric == "throughput":
        yield from _throughput_checks(old, new, limit)
    else:
        yield from _score_check(old, new, metric, limit)


def _latency_checks(old: Record, new: Record, quantile: int, limit: float) -> Iterator[Check]:
    earlier = _series(old)
    for where, now in _series(new).items():
        then = earlier.get(where, [])
        if now and then:
            tables = _tables(then, now)
            few = min(table.size for table in tables) < max(ENOUGH, 100 / (100 - quantile))
            before, after = (float(np.percentile(table, quantile)) for table in tables)
            band = None if few else _band(_ratios(tables, quantile), _drift(old, new))
            yield _judged(new["name"], f"p{quantile}, {where}", (before, after), band, limit, "s")


def _throughput_checks(old: Record, new: Record, limit: float) -> Iterator[Check]:
    earlier = {(level["mode"], level["load"]): level for level in old["levels"]}
    for level in new["levels"]:
        if then := earlier.get((level["mode"], level["load"])):
            rates = [np.array([window["per_s"] for window in one["windows"]]) for one in (then, level)]
            few = min(map(len, rates)) < 3 or not min(rate.min(initial=1) for rate in rates)
            middle = then["per_s"], level["per_s"]
            draw = np.random.default_rng(0)
            means = [] if few else [draw.choice(rate, (_RESAMPLES, len(rate))).mean(1) for rate in rates]
            band = None if few else _band(np.log(means[1]) - np.log(means[0]), _drift(old, new))
            yield _judged(new["name"], f"throughput, {level['load']:g} {level['mode']}", middle, band, limit, "/s")


def _score_check(old: Record, new: Record, metric: str, limit: float) -> Iterator[Check]:
    cases = [case for case in new["scores"] if metric in new["scores"][case] and metric in old["scores"].get(case, {})]
    if cases:
        pairs = np.array([(old["scores"][case][metric], new["scores"][case][metric]) for case in cases])
        middle = float(pairs[:, 0].mean()), float(pairs[:, 1].mean())
        change = _change(*middle)
        yield _judged(new["name"], metric, middle, (change, change), limit, "")


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


def _series(target: Record) -> dict[str, _Series]:
    """The answered requests, one at a time and at every level of load."""
    serial = target["serial"]["timings"]
    raw = {"one at a time": {key: [row[key] for row in serial] for key in _COLUMNS}}
    raw |= {f"{level['load']:g} {level['mode']}": level["timings"] for level in target["levels"]}
    return {
        where: [
            (case, done - due)
            for case, due, done, error in zip(*(one[key] for key in _COLUMNS), strict=True)
            if error is None
        ]
        for where, one in raw.items()
    }


def _tables(then: _Series, now: _Series) -> tuple[Array, Array]:
    """Both runs' latencies (rounds, cases): the same cases in the same order, as often as each was answered.

    Where the runs asked different cases nothing can be paired, and all requests stand in one column.
    """
    paired = {case for case, _ in then} == {case for case, _ in now}
    return _rounds(then, paired), _rounds(now, paired)


def _rounds(series: _Series, by_case: bool) -> Array:
    columns: dict[str, list[float]] = {}
    for case, latency_s in series:
        columns.setdefault(case if by_case else "", []).append(latency_s)
    return np.array(list(zip(*(columns[case] for case in sorted(columns)), strict=False)))


def _ratios(tables: tuple[Array, Array], quantile: int) -> Array:
    """Log ratios of the quantile, now to then, in bootstrap resamples of both runs.

    A resample holds the same cases of both runs, so that what makes one case slower than another is no noise; rounds
    are resampled for each run by itself.
    """
    draw, found = np.random.default_rng(0), []
    for _ in range(_RESAMPLES):
        cases = _picks(draw, tables[0].shape[1])
        picked = [table[np.ix_(_picks(draw, len(table)), cases)] for table in tables]
        before, after = (max(float(np.percentile(one, quantile)), _TICK_S) for one in picked)
        found.append(math.log(after / before))
    return np.array(found)


def _picks(draw: np.random.Generator, count: int) -> Array:
    """Resampled indices below `count`: whole blocks of neighbours."""
    blocks = np.array_split(np.arange(count), min(_BLOCKS, count))
    return np.concatenate([blocks[one] for one in draw.integers(len(blocks), size=len(blocks))])


def _drift(old: Record, new: Record) -> float:
    """What the bare machine changed meanwhile, as a log ratio."""
    then, now = (max(one["yardstick_s"], _TICK_S) if one["yardstick_s"] else None for one in (old, new))
    return abs(math.log(now / then)) if then and now else 0.0


def _band(ratios: Array, drift: float) -> tuple[float, float]:
    """95 % band of the relative change from resampled log ratios, widened by the drift."""
    low, high = np.percentile(ratios, (2.5, 97.5))
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
    change, low, high = (round(part, 3) + 0.0 for part in (check.change, check.low, check.high))  # never -0.0%
    before, after = (
        seconds(value) if check.unit == "s" else f"{value:.4g}{check.unit}" for value in (check.before, check.after)
    )
    values = f"{before} before, {after} now, {change:+.1%}"
    band = f"95 % band {low:+.1%} to {high:+.1%}, limit {check.limit:+.1%}"
    return f"{check.target}: {check.what} {check.verdict}{reason}: {values} ({band})"
