import math

import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics.components import volume_dice
from medseg.metrics.hausdorff import diagonal, hausdorff, hd95
from medseg.metrics.masks import mask_scores
from medseg.metrics.overlap import dice, iou, overlap
from medseg.metrics.uw_madison import uw_madison

SHAPE, SPACING = (12, 30, 33), (2.5, 1.2, 0.9)
EMPTY = np.zeros(SHAPE, np.uint8)


def blobs(seed: int) -> np.ndarray:
    return (ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2) > 0.05).astype(np.uint8)


@pytest.fixture(scope="module")
def dot() -> np.ndarray:
    mask = EMPTY.copy()
    mask[5, 10:14, 10:14] = 1
    return mask


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_monai_and_torchmetrics(seed: int) -> None:
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    from torchmetrics.functional.classification import binary_precision, binary_recall

    answer, truth = blobs(seed), blobs(seed + 100)
    one, other = (torch.tensor(mask)[None, None].float() for mask in (answer, truth))
    assert dice(answer, truth) == pytest.approx(metrics.compute_dice(one, other).item(), abs=1e-6)
    assert iou(answer, truth) == pytest.approx(metrics.compute_iou(one, other).item(), abs=1e-6)
    assert overlap(answer, truth).precision == pytest.approx(binary_precision(one, other.int()).item(), abs=1e-6)
    assert overlap(answer, truth).recall == pytest.approx(binary_recall(one, other.int()).item(), abs=1e-6)
    for percentile in (95, 100):
        theirs = metrics.compute_hausdorff_distance(
            one, other, include_background=True, percentile=percentile, spacing=list(SPACING)
        )
        assert hausdorff(answer, truth, SPACING, percentile) == pytest.approx(theirs.item(), abs=1e-4)


def test_empty_masks_score_as_the_docstrings_say(dot: np.ndarray) -> None:
    assert mask_scores(EMPTY, EMPTY, SPACING) == {
        "dice": 1,
        "iou": 1,
        "precision": 1,
        "recall": 1,
        "hausdorff_mm": 0,
        "hd95_mm": 0,
    }
    for answer, truth in ((EMPTY, dot), (dot, EMPTY)):
        scores = mask_scores(answer, truth, SPACING)
        assert [scores[name] for name in ("dice", "iou", "precision", "recall")] == [0, 0, 0, 0]
        assert scores["hd95_mm"] == scores["hausdorff_mm"] == diagonal(SHAPE, SPACING)


def test_distances_are_in_millimetres_along_each_axis(dot: np.ndarray) -> None:
    for axis, spacing in enumerate(SPACING):
        assert hausdorff(np.roll(dot, 3, axis), dot, SPACING) == pytest.approx(3 * spacing)
    assert "hd95_px" in mask_scores(dot, dot, None)
    assert hd95(dot, dot, SPACING) == 0


def test_masks_of_two_shapes_are_our_own_fault() -> None:
    with pytest.raises(AssertionError, match="differ in shape"):
        dice(np.zeros((1, 12)), np.zeros((3, 4)))


def test_the_brains_dice_keeps_the_largest_piece_of_the_answer_alone(dot: np.ndarray) -> None:
    speckled = dot.copy()
    speckled[0, 0, 0] = 1
    assert dice(speckled, dot) < 1
    assert volume_dice(speckled, dot) == 1
    assert volume_dice(EMPTY, EMPTY) == 1
    assert volume_dice(EMPTY, dot) == 0


def test_the_competitions_score_mixes_dice_and_distance(dot: np.ndarray) -> None:
    truth = np.stack([dot, EMPTY, dot])
    assert uw_madison(truth, truth) == {"score": 1, "dice": 1, "hausdorff": 0}
    missed = uw_madison(np.zeros_like(truth), truth)  # two organs of three are missed, the empty one is right
    assert missed["dice"] == pytest.approx(1 / 3)
    assert missed["score"] == pytest.approx(0.4 / 3 + 0.6 / 3)
    moved = uw_madison(np.roll(truth, 3, 3), truth)
    assert moved["hausdorff"] == pytest.approx(2 / 3 * (3 / 33) / math.sqrt(3))
    assert moved["dice"] == pytest.approx((1 + 2 * 0.25) / 3)  # one column of four is common
    assert moved["score"] == pytest.approx(0.4 * moved["dice"] + 0.6 * (1 - moved["hausdorff"]))
