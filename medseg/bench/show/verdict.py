"""The verdict: two or three sentences at the top of a report, which claim no more than the measurements can show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.bench.record import MeanRecord, Record, TargetRecord
from medseg.bench.show.tables import seconds
from medseg.engines import FASTER

FULL = "fp32"
_Z = 1.96  # of a 95 % interval
_FEWEST = 6  # requests that a median's interval needs at least
_MOST_NAMED = 2  # the most targets whose names a sentence gives


def verdict(record: Record) -> list[str]:
    """Which target to take and what it costs in score, then what to speed up next; empty where nothing answered.

    Then which lower precisions are no faster than fp32 here, where there are such.
    """
    good = [target for target in record["targets"] if _sound(target)]
    if not good:
        return []
    chosen = min((one for one in good if not _clearly_worse(one, good[0], record["main"])), key=_median_s)
    only = len(record["targets"]) == 1
    return [_take(chosen, good, record["main"], only), _next(chosen), *_no_faster(good)]


def _sound(target: TargetRecord) -> bool:
    return not target["problems"] and not target["interrupted"] and "p50_s" in target["serial"]["summary"]


def _median_s(target: TargetRecord) -> float:
    return target["serial"]["summary"]["p50_s"]


def _clearly_worse(target: TargetRecord, first: TargetRecord, main: str) -> bool:
    """Whether a target's score is significantly below the first one's, on the same cases."""
    change = None if target is first else target["paired"].get(main)
    if change is None:
        return False
    return change["mean"] < 0 if change["high"] is None else change["high"] < 0


def _take(chosen: TargetRecord, good: Sequence[TargetRecord], main: str, only: bool) -> str:
    others = [one["name"] for one in good if one is not chosen and not _clearly_slower(one, chosen)]
    beside = [one for one in others if not _clearly_worse(_named(good, one), good[0], main)]
    named = "all others" if len(beside) == len(good) - 1 > _MOST_NAMED else " and ".join(beside)
    told = all(median_interval(one) for one in good if one is chosen or one["name"] in beside)
    because = "their times overlap" if told else "there are too few requests to tell"
    as_fast = f"; {named} may be as fast: {because}" if beside else ""
    lonely = " (nothing else was measured)" if only else " (nothing else was measured without a failure)"
    alone = lonely if len(good) == 1 else ""
    return f"Take {chosen['name']}: {_speed(chosen)}{alone}{_score(chosen, good[0], main)}{as_fast}."


def _named(targets: Sequence[TargetRecord], name: str) -> TargetRecord:
    return next(one for one in targets if one["name"] == name)


def _speed(target: TargetRecord) -> str:
    answered = int(target["serial"]["summary"]["requests"] - target["serial"]["summary"]["errors"])
    times = "of one request" if answered == 1 else f"in the median of {answered} requests"
    return f"{seconds(_median_s(target))} {times}"


def _score(chosen: TargetRecord, first: TargetRecord, main: str) -> str:
    """The target's score, and what it costs compared with the first target's."""
    mean = chosen["accuracy"].get(main)
    if mean is None:
        return "; what it costs in score was not measured"
    whole = f", with {main} {mean['mean']:.4f} on {_cases(mean)}"
    change = None if chosen is first else chosen["paired"].get(main)
    if change is None:
        return whole
    return f"{whole}, {_cost(change)} {first['name']}"


def _cost(change: MeanRecord) -> str:
    low, high = change["low"], change["high"]
    if low is None or high is None:
        return f"{change['mean']:+.4f} on one case, which gives no interval, compared with"
    band = f"{change['mean']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    if low == high == 0:
        return "the same on every case as"
    return f"better ({band}) than" if low > 0 else f"within chance ({band}) of" if high >= 0 else f"worse ({band}) than"


def _cases(mean: MeanRecord) -> str:
    return "one case" if mean["cases"] == 1 else f"{mean['cases']} cases"


def _next(chosen: TargetRecord) -> str:
    book = chosen["ledger"]
    return (
        book["next"]
        if book
        else "It was not measured where the time is spent, so it is not known what to speed up next."
    )


def _no_faster(good: Sequence[TargetRecord]) -> list[str]:
    """A sentence on the targets that gain nothing by their precision, of enough requests to tell."""
    told = {(_but_precision(one), one["facts"].get("precision")): one for one in good if median_interval(one)}
    slow = []
    for (rest, precision), one in told.items():
        if precision != FULL and (rest, FULL) in told:
            times = _median_s(told[rest, FULL]) / _median_s(one)
            slow += [f"{one['name']} ({times:.2f} times as fast)"] if times < FASTER else []
    return [f"No faster here than {FULL}: {', '.join(slow)}."] if slow else []


def _but_precision(target: TargetRecord) -> str:
    """A target's name without its precision: what it has in common with itself in another."""
    return target["name"].replace(str(target["facts"].get("precision", "")), "")


def _clearly_slower(target: TargetRecord, chosen: TargetRecord) -> bool:
    """Whether the medians' 95 % intervals are separate; with too few requests this is not known."""
    theirs, ours = median_interval(target), median_interval(chosen)
    return theirs is not None and ours is not None and theirs[0] > ours[1]


def median_interval(target: TargetRecord) -> tuple[float, float] | None:
    """The median latency's 95 % interval in seconds, by the ranks that hold it whatever the distribution."""
    times = sorted(one["done_s"] - one["intended_s"] for one in target["serial"]["timings"] if one["error"] is None)
    if len(times) < _FEWEST:
        return None
    reach = _Z * np.sqrt(len(times)) / 2
    low, high = int(np.floor(len(times) / 2 - reach)), int(np.ceil(len(times) / 2 + reach))
    return times[max(0, low)], times[min(len(times) - 1, high)]
