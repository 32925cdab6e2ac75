"""The search for the nodes that stay float32, on made-up networks whose nodes flip a known number of voxels."""

from collections.abc import Mapping

import numpy as np
import pytest

from medseg.errors import ExportError
from medseg.export.parity import budget_for
from medseg.export.samples import Calibration
from medseg.export.search import Lowered, Lowering, all_within, within, worst_first
from tests.export.made import network

MASK = np.full((1, 1, 100, 100), -9.0)
MASK[..., :50, :] = 9.0
NODES = [f"node {index}" for index in range(100)]
SIZES = {name: 1 + index % 7 for index, name in enumerate(NODES)}
MOST = 64


def _lowering(flips: dict[str, int], cost: Mapping[str, float] = SIZES) -> Lowering:
    """Each node that is lowered flips so many of the mask's 5,000 voxels."""

    def judge(kept: frozenset[str]):
        answer, count = MASK.copy(), sum(n for name, n in flips.items() if name not in kept)
        answer.flat[:count] = -9.0
        return lambda sample: answer

    share = lambda kept: {"weight_bytes": 1 - sum(SIZES[name] for name in kept) / sum(SIZES.values())}  # noqa: E731
    return Lowering("int8", cost, frozenset, judge, share, 0.1, MOST)


def _all_within(flips: dict[str, int], cost: Mapping[str, float] = SIZES) -> list[Lowered]:
    known = Calibration([MASK], [MASK], "made")
    return list(all_within(_lowering(flips, cost), network(None), known, budget_for("int8"), {}))


def _within(flips: dict[str, int]) -> Lowered:
    return _all_within(flips)[0]


@pytest.mark.parametrize("sensitive", [1, 2, 17, 40])
def test_as_many_nodes_stay_float_as_are_sensitive(sensitive: int) -> None:
    """All neighbours, which share groups when the worst are searched."""
    flips = dict.fromkeys(NODES[30 : 30 + sensitive], 60)
    assert set(_within(flips).kept) == set(flips)


def test_those_come_first_that_change_most_for_what_they_cost() -> None:
    flips = {name: 10 * index for index, name in enumerate(reversed(NODES[:40]), 1)}
    found = dict(worst_first(_lowering(flips), network(None), Calibration([MASK], [MASK], "made"), {}))
    assert list(found)[:40] == sorted(flips, key=lambda name: -flips[name] / SIZES[name]) and len(found) == 100
    assert found[NODES[0]] == "alone it moves probabilities by 4.0e-02"


def test_of_two_that_change_as_much_the_dearer_is_lowered() -> None:
    """Either is enough; the first one in the graph costs seven times as much."""
    assert set(_within({NODES[6]: 40, NODES[7]: 40}).kept) == {NODES[7]}


def test_nodes_with_many_weights_become_int8_where_that_is_possible() -> None:
    """45 voxels more or less do not matter: of three nodes with 40 each, the one with the most weights."""
    flips = {NODES[0]: 40, NODES[6]: 40, NODES[3]: 41, NODES[50]: 200}
    assert set(_within(flips).kept) == {NODES[0], NODES[3], NODES[50]}


def test_too_many_sensitive_nodes_are_refused() -> None:
    with pytest.raises(ExportError, match=r"its masks have Dice .* nodes kept in float32"):
        _within(dict.fromkeys(NODES, 60))


def test_where_a_stricter_file_has_little_in_int8_a_laxer_one_follows() -> None:
    """100 voxels are too many by one for the whole budget, and by 51 for half of it."""
    alike = dict.fromkeys(NODES, 1)
    found = _all_within(alike, cost=alike)
    assert [len(one.kept) for one in found] == [51, 1]
    assert found[0].parity.dice >= 0.995 > found[1].parity.dice >= 0.99
    assert found[0].share["weight_bytes"] < 0.5 < found[1].share["weight_bytes"]
    known, lowering = Calibration([MASK], [MASK], "made"), _lowering(alike, alike)
    assert within(lowering, network(None), known, budget_for("int8"), {}).kept == found[0].kept


@pytest.mark.parametrize(("flips", "heavy", "least"), [(1, 0, 0.995), (2, 0, 0.992), (2, 72, 0.991)])
def test_a_file_uses_no_more_of_the_budget_than_it_must(flips: int, heavy: int, least: float) -> None:
    """Of 100 nodes at most 64 go back to float32: then 36 voxels stay flipped, or 72, or 80 if some nodes flip 3."""
    found, *_ = _all_within(dict.fromkeys(NODES, flips) | dict.fromkeys(NODES[:heavy], 3), dict.fromkeys(NODES, 1.0))
    assert least <= found.parity.dice < least + 0.001
