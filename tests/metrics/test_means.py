import pytest

from medseg.metrics.means import differences, means, worst
from medseg.scoring import Mean

SCORES = {f"case {n}": {"dice": 0.8 + n / 100} for n in range(10)}


def test_intervals_hold_the_mean_and_one_case_has_none():
    found = means(SCORES)["dice"]
    assert found.low < found.mean < found.high and found.cases == 10
    assert found.mean == pytest.approx(0.845)
    assert means({"only": {"dice": 0.5}})["dice"] == Mean(0.5, None, None, 1)


def test_differences_are_paired_so_a_small_steady_loss_shows_through_a_large_spread():
    lossy = {case: {"dice": found["dice"] - 0.001} for case, found in SCORES.items()}
    found = differences(lossy, SCORES)["dice"]
    assert found.high < 0 and found.mean == pytest.approx(-0.001)
    assert differences({"other": {"dice": 1.0}}, SCORES) == {}


def test_the_worst_come_first():
    assert worst(SCORES, "dice", 2) == ["case 0", "case 1"]
