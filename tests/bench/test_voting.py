import numpy as np
import pytest

from medseg.bench.measure.early_exit import disagreement, early_exit, voters
from medseg.bench.show.voters import voter_rows
from medseg.metrics.voters import voter_scores
from medseg.task import Pipeline, Step, Tensors

TRUTH = np.array([[1, 1, 0, 0]], np.uint8)
VOTERS = ("a", "b", "c")


def test_a_voter_adds_what_the_other_two_cannot_agree_on():
    votes = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 1, 0, 0]]], np.uint8)
    found = voter_scores(VOTERS, votes, TRUTH)
    assert found["alone: a"] == 1 and found["alone: b"] == pytest.approx(2 / 3)
    assert found["without: a"] == 0  # b and c agree on nothing: without a, nothing would be found


def pipeline(asked: list[str]) -> tuple[Pipeline, dict]:
    """Three voters of which the first two answer what they are given, and a step that keeps all three answers."""

    def answer(tensors: Tensors, _) -> Tensors:
        return {"sum": tensors["x"] + tensors["y"] + tensors["z"], "third": tensors["z"]}

    steps = [Step(f"ask {name}", name, (name,), (wire,)) for name, wire in zip(VOTERS, "xyz", strict=True)]
    whole = Pipeline(
        (), ("a", "b", "c"), (*steps, Step("answer", answer, ("x", "y", "z"), ("sum", "third"))), ("third",)
    )

    def network(name: str):
        def infer(batch):
            asked.append(name)
            return batch

        return infer

    return whole, network


@pytest.mark.parametrize(
    ("other", "share", "third"), [([1.0, -1], 0.0, False), ([-1.0, 3], 0.5, True), ([1, 3], 0.5, False)]
)
def test_the_third_voter_is_asked_only_where_the_first_two_differ_too_much(other: list, share: float, third: bool):
    asked: list[str] = []
    whole, networks = pipeline(asked)
    tensors = {"a": np.array([2.0, -2]), "b": np.array(other), "c": np.array([9.0, 9])}
    found = early_exit(whole, share)(tensors, networks)["third"]
    assert asked == ["a", "b", "c"][: 3 if third else 2]
    assert np.array_equal(found, tensors["c"] if third else tensors["a"] + tensors["b"])  # the surer one decides


def test_masks_differ_by_the_share_of_the_pixels_that_either_holds():
    one, none = np.array([True, True, False, False]), np.zeros(4, bool)
    assert disagreement(one, one) == disagreement(none, none) == 0
    assert disagreement(one, none) == 1
    assert disagreement(one, np.array([True, False, False, False])) == 0.5


def test_the_table_says_what_a_voter_adds_costs_and_how_often_it_was_asked():
    accuracy = {"dice": {"mean": 0.9}, "alone: one-a": {"mean": 0.8}, "without: one-a": {"mean": 0.7}}
    rows = [{"stage": "a: one-a", "seconds": 0.2}, {"stage": "a", "seconds": 0.1}, {"stage": "b", "seconds": 9}]
    timings = [{"error": None, "items": {"a: one-a": 1}}, {"error": None, "items": {"b: one-b": 1}}]
    target = {"accuracy": accuracy, "ledger": {"rows": rows}, "serial": {"timings": timings}, "facts": {}}
    (found,) = voter_rows(target, {"one-a": "a"})
    assert found.alone == 0.8 and found.adds == pytest.approx(0.2) and found.seconds == pytest.approx(0.3)
    assert (found.asked, found.requests) == (1, 2)
    (early,) = voter_rows(target | {"facts": {"early_exit": 0.1}}, {"one-a": "a"})
    assert early.alone is early.adds is None


def test_networks_vote_where_one_step_takes_all_their_answers():
    whole, _ = pipeline([])
    assert [step.run for step in voters(whole)] == ["a", "b", "c"]
    chain = Pipeline((), ("a",), (Step("one", "a", ("a",), ("b",)), Step("two", "b", ("b",), ("c",))), ("c",))
    assert voters(chain) == []
