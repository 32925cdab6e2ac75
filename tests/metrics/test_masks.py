import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import InputError
from medseg.metrics.components import volume_dice
from medseg.metrics.hausdorff import diagonal, hausdorff, hd95
from medseg.metrics.masks import mask_scores
from medseg.metrics.overlap import dice, iou, overlap

SHAPE, SPACING = (12, 30, 33), (2.5, 1.2, 0.9)
EMPTY = np.zeros(SHAPE, np.uint8)


def blobs(seed: int) -> np.ndarray:
    return (ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2) > 0.05).astype(np.uint8)


@pytest.fixture(scope="module")
def dot() -> np.ndarray:
    mask = EMPTY.copy()
    mask[5, 10:14, 10:14] = 1
    return mask


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Masks of many kinds: answer and truth."""
    found = {f"blobs {seed}": (blobs(seed), blobs(seed + 100)) for seed in range(3)}
    whole, corner, edges = np.ones_like(EMPTY), EMPTY.copy(), EMPTY.copy()
    hollow = whole.copy()
    hollow[1:-1, 1:-1, 1:-1] = 0
    corner[-1, -1, -1] = 1
    edges[:, 0], edges[:, -1] = 1, 1
    found |= {"hollow": (hollow, whole), "one voxel": (corner, blobs(7)), "at the border": (edges, whole)}
    found |= {
        "one voxel each": (corner, np.roll(corner, 1, 2)),
        "one slice": (whole * (np.arange(12) == 3)[:, None, None], edges),
    }
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", pairs())
def test_scores_are_those_of_monai_and_torchmetrics(name: str) -> None:
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    from torchmetrics.functional.classification import binary_precision, binary_recall

    answer, truth = pairs()[name]
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
    mean = metrics.compute_average_surface_distance(
        one, other, include_background=True, symmetric=True, spacing=list(SPACING)
    )
    assert mask_scores(answer, truth, SPACING)["assd_mm"] == pytest.approx(mean.item(), abs=1e-4)


def test_empty_masks_score_as_the_docstrings_say(dot: np.ndarray) -> None:
    assert mask_scores(EMPTY, EMPTY, SPACING) == {
        "dice": 1,
        "iou": 1,
        "precision": 1,
        "recall": 1,
        "hausdorff_mm": 0,
        "hd95_mm": 0,
        "assd_mm": 0,
    }
    for answer, truth in ((EMPTY, dot), (dot, EMPTY)):
        scores = mask_scores(answer, truth, SPACING)
        assert [scores[name] for name in ("dice", "iou", "precision", "recall")] == [0, 0, 0, 0]
        assert scores["hd95_mm"] == scores["hausdorff_mm"] == scores["assd_mm"] == diagonal(SHAPE, SPACING)


def test_distances_are_in_millimetres_along_each_axis(dot: np.ndarray) -> None:
    for axis, spacing in enumerate(SPACING):
        assert hausdorff(np.roll(dot, 3, axis), dot, SPACING) == pytest.approx(3 * spacing)
    assert "hd95_px" in mask_scores(dot, dot, None)
    assert hd95(dot, dot, SPACING) == 0


@pytest.mark.parametrize("answer", [(1, 12), (12,), (3, 4, 1), (4, 3), (2, 3, 4), (0, 4), ()])
def test_an_answer_of_another_shape_than_its_truth_has_no_score(answer: tuple[int, ...]) -> None:
    for score in (dice, iou, lambda one, other: hd95(one, other, (1.0, 1.0)), lambda *pair: mask_scores(*pair, None)):
        with pytest.raises(InputError, match="expected the same shape"):
            score(np.zeros(answer), np.zeros((3, 4)))


@pytest.mark.filterwarnings("ignore")
def test_where_masks_are_empty_monai_gives_no_number_and_these_do(dot: np.ndarray) -> None:
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    for answer, truth in ((EMPTY, EMPTY), (EMPTY, dot), (dot, EMPTY)):
        one, other = (torch.tensor(mask)[None, None].float() for mask in (answer, truth))
        theirs = metrics.compute_hausdorff_distance(one, other, include_background=True, percentile=95).item()
        assert not np.isfinite(theirs)
        found = metrics.compute_dice(one, other, ignore_empty=False).item()
        assert dice(answer, truth) == found
        assert np.isfinite(hd95(answer, truth, SPACING))


def test_the_brains_dice_keeps_the_largest_piece_of_the_answer_alone(dot: np.ndarray) -> None:
    speckled = dot.copy()
    speckled[0, 0, 0] = 1
    assert dice(speckled, dot) < 1
    assert volume_dice(speckled, dot) == 1
    assert volume_dice(EMPTY, EMPTY) == 1
    assert volume_dice(EMPTY, dot) == 0
