"""The UW-Madison score beside its rule, written down once more the slow way with scipy's own distance."""

import csv
import tracemalloc
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from medseg.data import rle
from medseg.metrics.distance import nearest
from medseg.metrics.hausdorff import between_voxels, hausdorff
from medseg.metrics.uw_madison import hausdorff_share, organ_score, outlined, pooled, union_distance, uw_madison
from medseg.tasks.gi_tract.networks import GI_TRACT
from tests.metrics.grading import graded, scipys
from tests.shared import SHARED, needs_shared

GI_TRACT_DATA = SHARED / "data/gi_tract"
SHAPE = (9, 22, 17)


def blobs(seed: int, shape: tuple[int, ...] = SHAPE, level: float = 0.05) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2) > level


def ball(radius: float, hollow: bool = False) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(size) - size // 2 for size in SHAPE), indexing="ij"))
    inside = np.square(grid).sum(0) <= radius**2
    return inside & ~ndimage.binary_erosion(inside) if hollow else inside


def voxel(*place: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[place] = True
    return mask


def edges(axis: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    np.moveaxis(mask, axis, 0)[[0, -1]] = True
    return mask


NOISE = np.random.default_rng(0).random((2, *SHAPE))
PAIRS = {
    **{f"blobs {seed}": (blobs(seed), blobs(seed + 50)) for seed in range(4)},
    "noise": (NOISE[0] > 0.5, NOISE[1] > 0.9),
    "few": (NOISE[0] > 0.99, NOISE[1] > 0.99),
    "a hollow answer": (ball(4, hollow=True), ball(4)),
    "a hollow truth": (ball(4), ball(4, hollow=True)),
    "a hollow box at the border": (np.pad(np.zeros((7, 20, 15), bool), 1, constant_values=True), np.ones(SHAPE, bool)),
    "one voxel": (voxel(0, 0, 0), ball(3)),
    "opposite corners": (voxel(0, 0, 0), voxel(8, 21, 16)),
    "whole": (np.ones(SHAPE, bool), voxel(4, 3, 2)),
    "equal": (ball(3), ball(3)),
    **{f"edges {axis}": (edges(axis), ball(4)) for axis in range(3)},
}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.5, 1.63), (0.1, 4.0, 0.7)])
@pytest.mark.parametrize("name", PAIRS)
def test_the_distance_between_voxels_is_scipys(name: str, spacing: tuple[float, ...]) -> None:
    answer, truth = PAIRS[name]
    for one, other in ((answer, truth), (truth, answer)):
        expected = scipys(one, other, np.array(spacing))
        assert between_voxels(one, other, spacing).percentile(100) == pytest.approx(expected, abs=1e-9)
    expected = scipys(answer, truth, 1 / np.array(SHAPE)) / np.sqrt(3)
    assert hausdorff_share(answer.astype(np.uint8), truth.astype(np.int64) * 7) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(40,), (25, 31), (1, 20, 30), (6, 1, 30)])
def test_it_is_scipys_in_any_number_of_axes(shape: tuple[int, ...]) -> None:
    answer, truth = (np.random.default_rng(seed).random(shape) > 0.8 for seed in (1, 2))
    scale = np.arange(1, len(shape) + 1) / 3
    assert between_voxels(answer, truth, scale).percentile(100) == pytest.approx(scipys(answer, truth, scale), abs=1e-9)


def test_a_hollow_answer_is_far_from_a_whole_truth_though_their_borders_are_one() -> None:
    hollow, whole = PAIRS["a hollow answer"]
    assert hausdorff(hollow, whole, (1, 1, 1)) == 0
    assert between_voxels(hollow, whole, (1, 1, 1)).percentile(100) > 2


def test_nothing_is_0_from_nothing_and_as_far_as_can_be_from_something() -> None:
    nothing = np.zeros(SHAPE, bool)
    assert hausdorff_share(nothing, nothing) == 0
    for one in (voxel(0, 0, 0), ball(3), np.ones(SHAPE, bool)):
        assert hausdorff_share(one, nothing) == hausdorff_share(nothing, one) == 1


def scans() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scans of several sizes: good, bad, empty, missed, made up, ten times too large; answer and truth by organ."""
    found = {}
    for number, shape in enumerate([SHAPE, (4, 30, 12), (7, 16, 16)]):
        truth = np.stack([blobs(10 * number + organ, shape, 0.08) for organ in range(3)])
        truth[:, 0] = False
        found[f"good {number}"] = (np.roll(truth, 1, axis=3), truth)
        found[f"mixed up {number}"] = (truth[[1, 2, 0]], truth)
        found[f"missed {number}"] = (truth * np.array([0, 1, 0])[:, None, None, None] > 0, truth)
    nothing = np.zeros((3, *SHAPE), bool)
    small = np.stack([voxel(4, 5, 6), voxel(4, 5, 7), voxel(4, 5, 6)])
    found |= {"neither": (nothing, nothing), "missed": (nothing, small), "made up": (small, nothing)}
    found |= {"huge": (np.stack([ball(2)] * 3), small), "not so huge": (small | np.roll(small, 1, 1), small)}
    return found


SCANS = scans()


@pytest.mark.parametrize("name", SCANS)
def test_one_scan_scores_by_the_rule(name: str) -> None:
    answer, truth = SCANS[name]
    found = uw_madison(answer, truth)
    if name == "neither":
        assert found == {}
    else:
        assert found == pytest.approx(graded([(answer, truth)]), abs=1e-12)


@pytest.mark.parametrize("names", [list(SCANS), list(SCANS)[:2], ["good 0", "neither"], ["made up", "missed"]])
def test_all_scans_together_score_by_the_rule(names: list[str]) -> None:
    rows = {name: uw_madison(*SCANS[name]) | {"outlined": len(outlined(*SCANS[name]))} for name in names}
    found = pooled(rows)
    assert {name: entry.mean for name, entry in found.items()} == pytest.approx(
        graded([SCANS[name] for name in names]), abs=1e-12
    )
    for entry in found.values():
        assert entry.cases == len([name for name in names if name != "neither"])
        if entry.cases > 1:
            assert entry.low <= entry.mean <= entry.high
        else:
            assert entry.low is entry.high is None
    assert found == pooled(rows), "the draw is seeded"


def test_scans_without_anything_have_no_score() -> None:
    assert pooled({"neither": {"outlined": 0.0, "organ_score": 1.0}}) == {} == pooled({})


def test_an_answer_beyond_ten_times_the_truth_is_as_far_as_can_be() -> None:
    truth = np.zeros((1, 3, 20, 20), bool)
    truth[0, 1, 5:7, 5:7] = True  # 4 voxels
    answer = np.zeros_like(truth)
    answer[0, 1, 4:8, 4:14] = True  # 40
    assert union_distance(answer, truth) < 0.5
    answer[0, 1, 8, 4] = True
    assert union_distance(answer, truth) == 1


def test_organs_that_are_taken_for_each_other_cost_the_organ_score_more() -> None:
    answer, truth = SCANS["mixed up 0"]
    assert organ_score(truth, truth) == 1 == uw_madison(truth, truth)["score"]
    assert uw_madison(answer, truth)["hausdorff"] == 0
    assert organ_score(answer, truth) < uw_madison(answer, truth)["score"]


@cache
def real_scans() -> dict[str, np.ndarray]:
    """The real masks (organ, slice, row, col) of the case-days in `train.csv`."""
    sizes = {
        row["id"]: (int(row["height"]), int(row["width"]))
        for row in csv.DictReader((GI_TRACT_DATA / "slice_paths.csv").open())
    }
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for row in csv.DictReader((GI_TRACT_DATA / "train.csv").open()):
        texts[row["id"]][row["class"]] = row["segmentation"]
    found = defaultdict(list)
    for name in sorted(texts):
        organs = [rle.decode(texts[name][organ] or "", sizes[name]) for organ in GI_TRACT.classes]
        found[name.split("_slice_")[0]].append(np.stack(organs))
    return {day: np.stack(slices, axis=1) for day, slices in found.items()}


@needs_shared
@pytest.mark.parametrize("change", ["grown", "hollow", "moved", "without its lower half"])
def test_real_organs_are_as_far_apart_as_scipy_says(change: str) -> None:
    day, scan = list(real_scans().items())[["grown", "hollow", "moved", "without its lower half"].index(change)]
    for truth in scan[:, ::2, ::3, ::3]:  # scipy's takes minutes for all voxels
        answer = {
            "grown": lambda mask: ndimage.binary_dilation(mask, iterations=2),
            "hollow": lambda mask: mask.astype(bool) & ~ndimage.binary_erosion(mask),
            "moved": lambda mask: np.roll(mask, 2, axis=2),
            "without its lower half": lambda mask: mask * (np.arange(len(mask)) < 20)[:, None, None],
        }[change](truth)
        if not truth.any() or not answer.any():
            assert hausdorff_share(answer, truth) == float(truth.any() or answer.any()), day
            continue
        expected = scipys(answer, truth, 1 / np.array(truth.shape)) / np.sqrt(3)
        assert hausdorff_share(answer, truth) == pytest.approx(expected, abs=1e-9), day


def test_large_volumes_take_little_memory() -> None:
    whole, part = np.ones((40, 200, 200), bool), np.zeros((40, 200, 200), bool)
    part[:, 50:60, 70:150] = True
    for own, other in ((whole, part), (part, whole)):
        tracemalloc.start()
        distances = nearest(own, other, (3.0, 1.5, 1.5))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(distances) == own.sum() and peak < 20 * own.size
