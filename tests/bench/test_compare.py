from dataclasses import replace

import numpy as np
import pytest
from defusedxml import ElementTree

from medseg.bench.judge.compare import OK, UNCLEAR, WORSE, compare
from medseg.bench.judge.limits import limits_from
from medseg.bench.measure.load import Plan
from medseg.bench.measure.target import BenchTarget
from medseg.bench.record import Record
from medseg.bench.show.junit import junit
from medseg.bench.stored import rounded
from medseg.errors import InputError
from tests.bench.measuring import PLAN, measured
from tests.bench.servers import busy, question, target

CASES = [question(f"case {n}", 0.9 + n / 100) for n in range(3)]


def dice(answer: dict) -> dict[str, float]:
    return {"dice": float(answer["x"][0])}


class Simulated:
    """Time that only a simulated target's work moves, so that these tests say the same on any machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.noise = 0.0, np.random.default_rng(0)
        for module in ("load", "clock"):
            monkeypatch.setattr(f"medseg.bench.measure.{module}.perf_counter", lambda: self.now_s)
        monkeypatch.setattr("medseg.bench.benchmark.yardstick_s", lambda: 0.01)

    def target(self, work_s: float) -> BenchTarget:
        """A target whose requests take about this long: a spread of 5 %, as on an idle machine."""

        def work(_: int) -> None:
            self.now_s += work_s * float(self.noise.lognormal(0, 0.05))

        return target(work)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    return Simulated(monkeypatch)


def verdicts(before: Record, after: Record, limits: str) -> dict[str, str]:
    return {check.what: check.verdict for check in compare(rounded(before), rounded(after), limits_from(limits))}


def test_repeating_an_idle_run_reports_nothing_in_nine_of_ten(simulated: Simulated):
    runs = [measured([simulated.target(0.01)], CASES, score=dice) for _ in range(11)]
    clean = [set(verdicts(runs[0], run, "score:-0.1%,p50:+10%,p95:+10%").values()) == {OK} for run in runs[1:]]
    assert sum(clean) >= 9


def test_a_slowdown_of_15_percent_is_caught(simulated: Simulated):
    before, after = (measured([simulated.target(0.02 * factor)], CASES, score=dice) for factor in (1.0, 1.15))
    found = verdicts(before, after, "score:-0.1%,p50:+10%")
    assert found == {"p50, one at a time": WORSE, "dice": OK}


def test_a_loss_of_1_percent_in_dice_is_caught_and_a_smaller_one_than_the_limit_is_not():
    def lossy(by: float) -> BenchTarget:
        return replace(target(), answer=lambda asked, clock: {"x": asked.ask()["x"] * (1 - by)})

    before, worse, same = (measured([lossy(by)], CASES, plan=Plan(0, 1), score=dice) for by in (0.0, 0.01, 0.0005))
    assert verdicts(before, worse, "dice:-0.1%") == {"dice": WORSE}
    assert verdicts(before, same, "dice:-0.1%") == {"dice": OK}


def test_too_few_requests_are_unclear_never_worse():
    before, after = (
        measured([target(busy(seconds))], CASES[:1], plan=Plan(0, 2, requests=1), score=dice)
        for seconds in (0.01, 0.05)
    )
    assert verdicts(before, after, "p50:+10%") == {"p50, one at a time": UNCLEAR}


@pytest.mark.parametrize("text", ["p95", "p95:10%", "p95:+10", ":+1%", "p95:+10%,", ""])
def test_a_limit_that_is_none_is_refused_with_its_text(text: str):
    with pytest.raises(InputError, match="expected METRIC"):
        limits_from(text)


def test_runs_of_other_targets_cannot_be_compared():
    before, after = (measured([target(name=name)], CASES, plan=Plan(0, 1), score=dice) for name in "ab")
    with pytest.raises(InputError, match="nothing to compare"):
        compare(before, after, {"p50": 0.1})


def test_junit_names_what_got_worse():
    before, after = (measured([target(busy(seconds))], CASES, plan=PLAN, score=dice) for seconds in (0.01, 0.02))
    suite = ElementTree.fromstring(junit(compare(before, after, limits_from("p50:+10%,score:-1%")), "ours"))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    (failure,) = suite.iter("failure")
    assert "p50" in failure.get("message") and "+10.0%" in failure.get("message")
    assert np.char.count(failure.get("message"), "worse") == 1
