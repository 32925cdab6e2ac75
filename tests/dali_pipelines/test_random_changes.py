import numpy as np
import torch
from scipy.stats import ks_2samp

from medseg.dali_pipelines.in_torch import punch
from medseg.dali_pipelines.random_changes import draw, pixel_matrix
from medseg.data.augmentation import MOST_HOLES, Augmentation
from medseg.tasks import network_named, training_of
from medseg.train import augment

GI, STAS = (training_of(network_named(name), "train").augmentation for name in ("gi-tract", "stas-efficientnet-b6"))
MANY = 4000


def drawn(how: Augmentation, count: int = MANY) -> list:
    return [draw(how, place, (0, 0, place)) for place in range(count)]


def test_the_same_seed_epoch_and_place_draw_the_same() -> None:
    one, again = draw(GI, 0, (3, 5, 7)), draw(GI, 0, (3, 5, 7))
    assert np.array_equal(one.linear, again.linear)
    assert np.array_equal(one.holes, again.holes)
    others = [draw(GI, 0, seeds) for seeds in ((4, 5, 7), (3, 6, 7), (3, 5, 8))]
    assert all(not np.array_equal(one.wave, other.wave) for other in others)


def test_changes_come_as_often_and_as_large_as_asked() -> None:
    found = drawn(GI)
    linear = np.stack([one.linear[:2, :2] for one in found])
    mirrored = np.linalg.det(linear) < 0
    assert abs(mirrored.mean() - 0.5) < 0.03
    scale = 1 / np.sqrt(np.abs(np.linalg.det(linear)))
    still = np.isclose(scale, 1)
    assert abs(still.mean() - 0.5) < 0.03
    assert 0.949 < scale.min() < 0.955
    assert 1.045 < scale.max() < 1.051
    angle = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 1, 1]))[~mirrored]
    assert 9.5 < np.abs(angle).max() < 10.01
    middle = np.stack([one.linear @ (0.5, 0.5, 1) for one in found])[:, :2] - 0.5
    assert 0.06 < np.abs(middle).max() < 0.0626
    assert abs(middle.mean()) < 0.003
    bent = np.array([one.wave[:2].any() for one in found])
    assert abs(bent.mean() - 0.25) < 0.03
    counts = np.array([(one.holes[:, 2] > 0).sum() for one in found])
    assert abs((counts > 0).mean() - 0.5) < 0.03
    assert set(counts) == {0, 5, 6, 7, MOST_HOLES}


def test_quarter_turns_are_whole_and_rare() -> None:
    found = drawn(STAS)
    counts = np.bincount([one.turns for one in found]) / MANY
    assert np.abs(counts - (0.7, 0.1, 0.1, 0.1)).max() < 0.03
    assert all(np.array_equal(one.linear, np.eye(3)) for one in found)
    assert not STAS.moving


def test_no_changes_is_the_resize() -> None:
    matrix = pixel_matrix(draw(Augmentation(), 0, (0, 0, 0)).linear, (266, 310), (224, 224))
    assert np.allclose(matrix, [[310 / 224, 0, 0], [0, 266 / 224, 0]])


def test_torch_and_dali_draw_from_the_same_distributions() -> None:
    """Kolmogorov and Smirnov's test on what 4,000 samples are changed by; --loader auto must not alter a fit."""
    torch.manual_seed(0)
    pictures, ours = torch.ones(MANY, 1, 40, 40), drawn(GI)
    matrices = augment._matrices(pictures, (40, 40), GI).double().numpy()
    waves = augment._waves(pictures, (40, 40), GI).numpy() / 2
    dali = np.stack([one.linear for one in ours])
    middles = (dali @ (0.5, 0.5, 1))[:, :2] - 0.5
    theirs = {
        "mirror and size": (np.linalg.det(matrices[:, :, :2]), np.linalg.det(dali[:, :2, :2])),
        "turn": (np.abs(matrices[:, 1, 0]), np.abs(dali[:, 1, 0])),
        "shift": (matrices[:, 0, 2] / 2, middles[:, 0]),
        "shift down": (matrices[:, 1, 2] / 2, middles[:, 1]),
        "bend": (np.abs(waves[..., 0]).max((1, 2)), [abs(one.wave[0]) for one in ours]),
        "bend down": (np.abs(waves[..., 1]).max((1, 2)), [abs(one.wave[1]) for one in ours]),
        "holes": (_gone(augment._outside_holes(pictures, GI)), _gone(_punched(pictures, ours))),
    }
    for what, (one, other) in theirs.items():
        assert ks_2samp(np.round(one, 3), np.round(other, 3)).pvalue > 1e-3, what


def _punched(pictures: torch.Tensor, changes: list) -> torch.Tensor:
    changed = pictures.clone()
    for picture, one in zip(changed, changes, strict=True):
        punch(picture, torch.zeros(1, 40, 40), one)
    return changed


def _gone(pictures: torch.Tensor) -> np.ndarray:
    return (pictures == 0).float().mean((1, 2, 3)).numpy()
