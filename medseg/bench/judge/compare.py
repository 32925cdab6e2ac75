"""Compare: whether it got worse since last time, by more than the noise of both runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from medseg.bench.judge.limits import LATENCY
from medseg.bench.record import Columns, Record, TargetRecord
from medseg.errors import InputError
from medseg.task import Array

ENOUGH = 5  # requests; fewer have no meaningful spread, and a percentile needs one request beyond it
_RESAMPLES = 1000
_TICK_S = 1e-6  # times are rounded to this; a faster answer counts as this long
_BLOCKS = 10  # neighbouring rounds and cases are disturbed together, so whole blocks of them are resampled

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


def compare(before: Record, after: Record, limits: Mapping[str, float]) -> list[Check]:
    """Every limit checked on every target that both runs measured.

    A latency is worse when its change exceeds the limit and the 95 % band of the change does not include 0; a score is
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


def _checks(old: TargetRecord, new: TargetRecord, metric: str, limit: float) -> Iterator[Check]:
    if quantile := LATENCY.fullmatch(metric):
        yield from _latency_checks(old, new, int(quantile[1]), limit)
    elif metric == "throughput":
        yield from _throughput_checks(old, new, limit)
    else:
        yield from _score_check(old, new, metric, limit)


def _latency_checks(old: TargetRecord, new: TargetRecord, quantile: int, limit: float) -> Iterator[Check]:
    earlier = _series(old)
    for where, now in _series(new).items():
        then = earlier.get(where, [])
        if now and then:
            tables = _tables(then, now)
            few = min(table.size for table in tables) < max(ENOUGH, 100 / (100 - quantile))
            before, after = (float(np.percentile(table, quantile)) for table in tables)
            band = None if few else _band(_ratios(tables, quantile), _drift(old, new))
            yield _judged(new["name"], f"p{quantile}, {where}", (before, after), band, limit, "s")


def _throughput_checks(old: TargetRecord, new: TargetRecord, limit: float) -> Iterator[Check]:
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


def _score_check(old: TargetRecord, new: TargetRecord, metric: str, limit: float) -> Iterator[Check]:
    cases = [case for case in new["scores"] if metric in new["scores"][case] and metric in old["scores"].get(case, {})]
    if cases:
        pairs = np.array([(old["scores"][case][metric], new["scores"][case][metric]) for case in cases])
        middle = float(pairs[:, 0].mean()), float(pairs[:, 1].mean())
        change = _change(*middle)
        yield _judged(new["name"], metric, middle, (change, change), limit, "")


def _judged(
    target: str, what: str, values: tuple[float, float], band: tuple[float, float] | None, limit: float, unit: str
) -> Check:
    """A check's verdict; without a band there were too few requests."""
    change, beyond = _change(*values), 1.0 if limit > 0 else -1.0
    low, high = band or (-1.0, 1.0)
    exceeds = change * beyond > abs(limit)
    certain = min(low * beyond, high * beyond) > 0
    verdict = UNCLEAR if band is None else WORSE if exceeds and certain else OK
    return Check(target, what, *values, change, low, high, limit, verdict, unit)


def _change(before: float, after: float) -> float:
    return 0.0 if before == after else (after / before - 1 if before else math.copysign(1.0, after))


def _series(target: TargetRecord) -> dict[str, _Series]:
    """The answered requests, one at a time and at every level of load."""
    serial = target["serial"]["timings"]
    alone = [(row["case"], row["done_s"] - row["intended_s"]) for row in serial if row["error"] is None]
    loaded = {f"{level['load']:g} {level['mode']}": _answered(level["timings"]) for level in target["levels"]}
    return {"one at a time": alone, **loaded}


def _answered(raw: Columns) -> _Series:
    columns = zip(raw["case"], raw["intended_s"], raw["done_s"], raw["error"], strict=True)
    return [(case, done_s - due_s) for case, due_s, done_s, error in columns if error is None]


def _tables(then: _Series, now: _Series) -> tuple[Array, Array]:
    """Both runs' latencies (rounds, cases): the same cases in the same order, as often as each was answered.

    If the runs asked different cases nothing can be paired, and all requests are in one column.
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

    A resample holds the same cases of both runs, so that the difference between slow and fast cases adds no noise;
    rounds are resampled separately for each run.
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


def _drift(old: TargetRecord, new: TargetRecord) -> float:
    """How much the machine itself changed in the meantime, as a log ratio."""
    then, now = (max(one["yardstick_s"], _TICK_S) if one["yardstick_s"] else None for one in (old, new))
    return abs(math.log(now / then)) if then and now else 0.0


def _band(ratios: Array, drift: float) -> tuple[float, float]:
    """95 % band of the relative change from resampled log ratios, widened by the drift."""
    low, high = np.percentile(ratios, (2.5, 97.5))
    return math.expm1(low - drift), math.expm1(high + drift)
