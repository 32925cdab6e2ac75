"""What a report says on top, which it may only say where the numbers do; and what it leaves out."""

import copy

import pytest

from medseg.bench.record import PERCENTILES
from medseg.bench.show.tables import percentiles, told_quantiles
from medseg.bench.show.verdict import verdict

NEXT = "Next to speed up: find, 60% of the time."


def target(name: str, times_s: list[float], change: tuple[float, float, float] | None = None) -> dict:
    """A target with a main score, its difference to the first with an interval, and these times."""
    timings = [{"case": "a", "intended_s": 0.0, "done_s": one, "error": None, "items": {}} for one in times_s]
    middle = sorted(times_s)[len(times_s) // 2]
    summary = {"requests": len(times_s), "errors": 0} | {f"p{one}_s": middle for one in PERCENTILES}
    mean = {"mean": 0.9, "low": 0.8, "high": 1.0, "cases": 12}
    paired = {"dice": dict(zip(("mean", "low", "high"), change, strict=True), cases=12)} if change else {}
    return {
        "name": name,
        "facts": {
            "precision": next((word for word in name.replace(",", "").split() if word in ("fp32", "int8")), None)
        },
        "serial": {"summary": summary, "timings": timings},
        "accuracy": {"dice": mean},
        "paired": paired,
        "ledger": {"next": NEXT},
        "problems": [],
        "interrupted": False,
        "levels": [],
    }


FAST, SLOW, AS_FAST = [0.1] * 20, [0.2] * 20, [0.09] * 10 + [0.102] * 10
CASES = {
    "the faster one at no cost": (
        [target("a", SLOW), target("b", FAST, (0, 0, 0))],
        "Take b",
        "the same on every case as a",
    ),
    "within chance": ([target("a", SLOW), target("b", FAST, (-0.01, -0.02, 0.01))], "Take b", "within chance"),
    "the faster one is worse": ([target("a", SLOW), target("b", FAST, (-0.1, -0.2, -0.01))], "Take a", "dice 0.9000"),
    "better and faster": ([target("a", SLOW), target("b", FAST, (0.1, 0.05, 0.2))], "Take b", "better"),
    "too close to tell": (
        [target("a", FAST), target("b", AS_FAST, (0, 0, 0))],
        "Take a",
        "b may be as fast: their times overlap",
    ),
    "none can be told": (
        [target(name, FAST, None if name == "a" else (0, 0, 0)) for name in "abcd"],
        "Take a",
        "; all others may be as fast",
    ),
    "one request": ([target("a", [0.1]), target("b", [0.2], (0, 0, 0))], "Take a", "of one request"),
    "few requests": (
        [target("a", FAST), target("b", [0.2], (0, 0, 0)), target("c", SLOW, (0, 0, 0))],
        "Take a",
        "; b may be as fast: there are too few requests to tell.",
    ),
    "alone": ([target("a", FAST)], "Take a", "nothing else was measured"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_says_what_the_numbers_can_tell(name: str) -> None:
    targets, start, part = CASES[name]
    take, following = verdict({"targets": targets, "main": "dice"})
    assert take.startswith(start) and part in take and following == NEXT


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (SLOW, "No faster here than fp32: openvino int8, local (0.50 times as fast)."),
        (FAST, "No faster here than fp32: openvino int8, local (1.00 times as fast)."),
        ([0.096] * 20, "No faster here than fp32: openvino int8, local (1.04 times as fast)."),
        ([0.09] * 20, ""),
        ([0.2], ""),  # of one request nothing can be told
    ],
)
def test_a_lower_precision_that_gains_nothing_is_named(times: list[float], said: str) -> None:
    full, other = target("openvino fp32, local", FAST), target("openvino fp32, served", FAST)
    same = (0.0, 0.0, 0.0)
    targets = [full, other, target("openvino int8, local", times, same), target("onnxruntime int8, local", SLOW, same)]
    assert " ".join(verdict({"targets": targets, "main": "dice"})[2:]) == said


def test_no_verdict_where_nothing_answered() -> None:
    failed = target("a", FAST) | {"problems": ["it failed"]}
    assert verdict({"targets": [failed], "main": "dice"}) == []
    assert verdict({"targets": [failed, target("b", SLOW)], "main": "dice"})[0].startswith("Take b")


def test_one_case_has_no_interval_and_it_is_said() -> None:
    one = target("b", FAST, (-0.01, 0, 0))
    one["paired"]["dice"] |= {"low": None, "high": None}
    level = copy.deepcopy(one)
    level["paired"]["dice"]["mean"] = 0.0
    assert verdict({"targets": [target("a", SLOW), one], "main": "dice"})[0].startswith("Take a")
    assert "gives no interval" in verdict({"targets": [target("a", SLOW), level], "main": "dice"})[0]


@pytest.mark.parametrize(("requests", "told"), [(1, 1), (9, 1), (10, 2), (20, 3), (99, 3), (100, 4)])
def test_percentiles_are_shown_from_as_many_requests_on_as_tell_them(requests: int, told: int) -> None:
    serial = target("a", [0.1] * requests)["serial"]
    quantiles = told_quantiles([serial])
    assert quantiles == list(PERCENTILES[:told])
    cells = percentiles(serial["summary"], PERCENTILES)
    assert [str(cell) for cell in cells] == ["100 ms"] * told + ["-"] * (4 - told)
    assert (cells[0].soft == "one request") == (requests == 1)
