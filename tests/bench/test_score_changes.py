from dataclasses import asdict

import pytest

from medseg.bench.judge.score_changes import score_changes
from medseg.bench.lineup import Entry, with_variants
from medseg.metrics.means import Scores, means


def accuracy(scores: Scores) -> dict:
    return {name: asdict(mean) for name, mean in means(scores).items()}


def target(dice: float, engine: str, precision: str, where: str, **more) -> dict:
    entry = Entry(engine, precision, where, **more)
    scores = {f"case {n}": {"dice": dice + n / 100} for n in range(4)}
    facts = {"engine": engine, "precision": precision, "where": where, "decoder": "dali"}
    return {"name": entry.name, "facts": facts | more, "scores": scores, "accuracy": accuracy(scores)}


TARGETS = [
    target(0.80, "openvino", "int8", "served"),
    target(0.90, "openvino", "fp32", "local"),
    target(0.90, "openvino", "fp32", "served"),
    target(0.90, "torch", "fp32", "local"),
    target(0.89, "openvino", "fp16", "served"),
]


def test_each_hop_starts_at_the_target_that_differs_least_and_the_changes_add_up():
    found = {hop["target"]: hop for hop in score_changes(TARGETS, "dice")}
    assert next(iter(found)) == "torch fp32, local" and "from" not in found["torch fp32, local"]
    assert found["openvino fp32, local"]["changed"] == ["torch to openvino"]
    assert found["openvino fp32, served"]["changed"] == ["local to served"]
    assert found["openvino fp16, served"]["from"] == "openvino fp32, served"
    int8 = found["openvino int8, served"]
    assert int8["changed"] == ["fp16 to int8"] and int8["change"]["mean"] == pytest.approx(-0.09)
    assert int8["change"]["low"] == pytest.approx(int8["change"]["high"])  # the same loss in every case
    assert sum(hop["change"]["mean"] for hop in found.values() if "change" in hop) == pytest.approx(0.80 - 0.90)


def test_of_several_machines_a_change_is_of_precision_or_of_machine():
    places = ("fp32", "A"), ("fp16", "A"), ("fp32", "B"), ("fp16", "B")
    made = [target(0.9, "openvino", precision, "local") for precision, _ in places]
    for one, (_, machine) in zip(made, places, strict=True):
        one["name"] += machine
        one["facts"]["machine"] = machine
    changed = [hop["changed"] for hop in score_changes(made, "dice") if "from" in hop]
    assert changed == [["A to B"], ["fp32 to fp16"], ["A to B"]]


def test_targets_that_say_nothing_of_themselves_have_no_changes():
    scores = {"case": {"dice": 1.0}}
    remote = {"name": "x", "facts": {"where": "remote"}, "scores": scores, "accuracy": accuracy(scores)}
    assert score_changes([remote], "dice") == []


def test_variants_follow_the_target_that_they_vary():
    entries = [Entry("openvino", "fp32", "local"), Entry("openvino", "fp32", "served")]
    names = [entry.name for entry in with_variants(entries, True, 0.1)]
    assert names == [
        "openvino fp32, local",
        "openvino fp32, local, early exit at 0.1",
        "openvino fp32, served",
        "openvino fp32, served, shared memory",
    ]
