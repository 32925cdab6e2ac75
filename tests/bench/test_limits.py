"""What --fail-on may name: what both runs measured. A limit that finds nothing to check is never a pass."""

import pytest

from medseg.bench.judge.compare import OK, compare
from medseg.bench.judge.limits import check_limits, comparable, usual_limits
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.errors import InputError, ServerError
from tests.bench.measuring import measured
from tests.bench.servers import question, target

SCORED = [question(f"case {n}") for n in range(6)]


def score(_: object) -> dict[str, float]:
    return {"dice": 0.9, "alone: a": 0.8}


UNKNOWN = [question("case")]
ONCE = Plan(warmup=0, rounds=1, requests=1, window_s=0.05, stable=1.0)


def test_a_run_can_be_compared_on_what_it_measured():
    assert comparable(measured([target()], SCORED, plan=ONCE, score=score)) == [
        "p50",
        "p90",
        "p95",
        "p99",
        "score",
        "dice",
    ]
    loaded = measured([target()], UNKNOWN, Loads((1,)), ONCE)
    assert comparable(loaded) == ["p50", "p90", "p95", "p99", "throughput"]
    assert usual_limits(loaded) == {"p50": 0.1}


@pytest.mark.parametrize("metric", ["dise", "cpm", "throughput", "p100"])
def test_a_metric_that_the_earlier_run_has_not_is_refused_with_those_it_has(metric: str):
    before = measured([target()], SCORED, plan=ONCE, score=score)
    with pytest.raises(InputError, match=f"'{metric}'.*expected one of p50, p90, p95, p99, score, dice$"):
        check_limits({metric: -0.01}, before)
    check_limits({"p75": 0.1, "dice": -0.01}, before)


def test_a_limit_that_both_runs_have_nothing_for_is_refused_unless_something_failed():
    def die(_: int) -> None:
        raise ServerError("gone")

    before, after = (measured([target()], SCORED, plan=ONCE, score=known) for known in (score, None))
    with pytest.raises(InputError, match="nothing to compare dice on"):
        compare(before, after, {"p50": 0.1, "dice": -0.01})
    dead = measured([target(die)], SCORED, plan=ONCE, score=score)
    assert compare(before, dead, {"dice": -0.01}) == []  # the failed requests are what is reported


def test_the_plan_asks_often_enough_for_a_p95_however_few_the_cases_but_not_for_ever():
    for cases in (SCORED, UNKNOWN):
        before, after = (measured([target()], cases, plan=Plan(warmup=0)) for _ in range(2))
        (check,) = compare(before, after, {"p95": 99.0})
        assert len(before["targets"][0]["serial"]["timings"]) == 24 and check.verdict == OK
    brief = measured([target()], SCORED, plan=Plan(warmup=0, enough_s=0.0), score=score)
    assert len(brief["targets"][0]["serial"]["timings"]) == 18  # the rounds, and no more
