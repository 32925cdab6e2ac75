"""The bands of a comparison: runs of the same cases are paired, and the machine's own change widens them."""

import re

import numpy as np
import pytest

from medseg.bench.judge.compare import OK, WORSE, Check, compare
from medseg.bench.record import Record
from medseg.bench.show.junit import sentence

ROUNDS = 3


def run(work_s: list[float], seed: int, prefix: str = "case", per_s: float = 10.0, yardstick_s: float = 0.01) -> Record:
    """A record of cases that take so long, each about the same in every round."""
    draw = np.random.default_rng(seed)
    timings = [
        {"case": f"{prefix} {n}", "intended_s": 0.0, "done_s": seconds * draw.lognormal(0, 0.02), "error": None}
        for _ in range(ROUNDS)
        for n, seconds in enumerate(work_s)
    ]
    windows = [{"per_s": per_s * draw.lognormal(0, 0.01)} for _ in range(4)]
    raw = {key: [row[key] for row in timings] for key in timings[0]}
    level = {"mode": "closed", "load": 4, "per_s": per_s, "windows": windows, "timings": raw}
    target = {"name": "ours", "yardstick_s": yardstick_s, "serial": {"timings": timings}, "levels": [level]}
    return {"task": "t", "main": "dice", "targets": [target | {"scores": {}, "problems": []}]}


def only(before: Record, after: Record, metric: str, limit: float) -> Check:
    return compare(before, after, {metric: limit})[0]


VARIED = [0.01 * 2**n for n in range(8)]  # a case takes up to 128 times as long as another


def test_a_slowdown_of_15_percent_shows_through_cases_that_differ_much_because_they_are_paired():
    before, after = run(VARIED, 0), run([1.15 * one for one in VARIED], 1)
    check = only(before, after, "p50", 0.1)
    assert check.verdict == WORSE and 0.08 < check.low < 0.15 < check.high < 0.25
    assert re.search(r"p50, one at a time worse: \d+ ms before, \d+ ms now, \+1\d\.\d%", sentence(check))
    other = only(before, run([1.15 * one for one in VARIED], 1, "other"), "p50", 0.1)
    assert other.verdict == OK and other.low < -0.2 and other.high > 0.5  # not the same cases: nothing is certain


@pytest.mark.parametrize("seed", range(10))
def test_a_repeat_on_cases_that_differ_much_is_no_regression(seed: int):
    check = only(run(VARIED, 99), run(VARIED, seed), "p95", 0.1)
    assert check.verdict == OK and check.low < 0 < check.high


def test_a_case_that_was_answered_less_often_in_one_run_is_paired_all_the_same():
    before, after = run(VARIED, 0), run([1.15 * one for one in VARIED], 1)
    after["targets"][0]["serial"]["timings"][-1]["error"] = "timeout"
    assert only(before, after, "p50", 0.1).low > 0.05


def test_fewer_answers_a_second_are_worse_unless_the_bare_machine_was_as_much_slower():
    before = run(VARIED, 0)
    assert only(before, run(VARIED, 1, per_s=8.0), "throughput", -0.1).verdict == WORSE
    assert only(before, run(VARIED, 1, per_s=8.0, yardstick_s=0.013), "throughput", -0.1).verdict == OK
