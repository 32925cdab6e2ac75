"""Axis by axis gives what scipy's zoom gives at once, which is what scikit-image's resize and so nnU-Net computes."""

import numpy as np
import pytest
from scipy import ndimage

from medseg.tasks.volume.resample import Rule, labels_resampled, nearest, new_shape, resampled, slice_axis

SHAPES = [((20, 40, 30), (33, 25, 61)), ((5, 7, 9), (9, 3, 9)), ((1, 7, 9), (3, 3, 9)), ((6, 6, 6), (3, 3, 3))]


def zoomed(volume: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """What scikit-image's resize computes without antialiasing: scipy's zoom, cut to the range of what went in."""
    factors = [new / old for old, new in zip(volume.shape, shape, strict=True)]
    found = ndimage.zoom(volume.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(found, volume.min(), volume.max())


def same_but_for_a_rounding(found: np.ndarray, expected: np.ndarray) -> None:
    """Float64's last digit may round to the other neighbour in float32, hardly ever."""
    np.testing.assert_array_max_ulp(found, expected, 1)
    assert np.count_nonzero(found != expected) <= 1e-4 * found.size


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_a_volume_resampled_axis_by_axis_is_scipys(old, new, order):
    volume = np.random.default_rng(0).normal(size=old).astype(np.float32)
    found = resampled(volume, new, order, axis=None)
    same_but_for_a_rounding(found, zoomed(volume, new, order).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_resampled_one_by_one_and_copied_between(axis):
    volume = np.random.default_rng(1).normal(size=(9, 10, 11)).astype(np.float32)
    new = (13, 14, 15)
    found = np.moveaxis(resampled(volume, new, 3, axis), axis, 0)
    plane = [size for at, size in enumerate(new) if at != axis]
    slices = np.moveaxis(volume, axis, 0)
    for index, one in enumerate(nearest(len(slices), new[axis])):
        same_but_for_a_rounding(found[index], zoomed(slices[one], plane, 3).astype(np.float32))


def test_a_volume_of_the_right_shape_is_left_as_it_is():
    volume = np.zeros((3, 4, 5), np.float32)
    assert resampled(volume, (3, 4, 5), 3, None) is volume


@pytest.mark.parametrize(("old", "new"), [((20, 40, 6), (33, 61, 6)), ((4, 8, 8), (8, 16, 16)), ((8, 8, 8), (4, 4, 4))])
def test_a_voxel_has_the_label_with_most_of_it(old, new):
    labels = np.random.default_rng(2).integers(-1, 4, old).astype(np.int16)
    shares = np.stack([zoomed((labels == one).astype(float), new, 1) for one in range(-1, 4)])
    found = labels_resampled(labels, new, None)
    chosen = np.take_along_axis(shares, (found + 1)[None].astype(int), 0)[0]
    assert np.allclose(chosen, shares.max(0), atol=1e-12)


def test_of_labels_with_equal_parts_the_nearest_wins_whatever_its_number():
    labels = np.array([[[3, 3, 1, 1]]], np.int16)
    assert labels_resampled(labels, (1, 1, 8), None).ravel().tolist() == [3, 3, 3, 3, 1, 1, 1, 1]
    assert labels_resampled(labels, (1, 1, 2), None).ravel().tolist() == [3, 1]


@pytest.mark.parametrize(
    ("rule", "current", "target", "expected"),
    [
        (Rule(3), (5.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
        (Rule(3), (1.0, 1.0, 1.0), (1.0, 1.0, 4.0), 2),
        (Rule(3), (3.0, 1.0, 1.0), (3.0, 1.0, 1.0), None),  # not over three times
        (Rule(3), (0.24, 1.25, 1.25), (1.0, 1.0, 1.0), None),  # two axes are the coarsest
        (Rule(3, separate=True), (2.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
        (Rule(3, separate=True), (1.0, 1.0, 1.0), (5.0, 1.0, 1.0), None),
        (Rule(3, separate=False), (9.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),
    ],
)
def test_slices_are_taken_apart_where_they_lie_far_apart(rule, current, target, expected):
    assert slice_axis(rule, current, target) == expected


def test_halves_of_a_voxel_round_to_even():
    assert new_shape((45, 5, 4), (1.5, 0.5, 1.0), (3.0, 1.0, 1.0)) == (22, 2, 4)
