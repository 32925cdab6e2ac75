"""Labels made block by block of few classes are those of all classes interpolated at once."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from medseg.tasks.volume.resample import nearest
from medseg.tasks.volume.restore import Heads, grid, labelled

RNG = np.random.default_rng(0)


def smooth(classes: int, shape: tuple[int, ...], dtype: str = "float16") -> np.ndarray:
    fields = RNG.normal(size=(classes, *shape))
    return np.stack([ndimage.gaussian_filter(one, 1.5) * 30 for one in fields]).astype(dtype)


def at_once(logits: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """All classes on the wanted grid, in the type that they came in."""
    found = []
    for one in logits:
        plane = [one.shape[at] if at == axis else size for at, size in enumerate(shape)]
        factors = [new / old for old, new in zip(one.shape, plane, strict=True)]
        big = ndimage.zoom(one.astype(np.float64), factors, order=1, mode="nearest", grid_mode=True)
        big = big.astype(logits.dtype)
        found.append(big if axis is None else np.take(big, nearest(one.shape[axis], shape[axis]), axis))
    return np.stack(found)


def streamed(logits: np.ndarray, step: int):
    return ((first, logits[:, first : first + step]) for first in range(0, logits.shape[1], step))


CASES = [((12, 20, 30), (25, 33, 41)), ((20, 40, 35), (11, 20, 30)), ((9, 9, 9), (9, 9, 9)), ((1, 8, 8), (3, 9, 70))]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize(("old", "new"), CASES)
def test_the_largest_class_wins_as_if_all_were_interpolated(old, new, axis):
    logits = smooth(5, old)
    heads = Heads((0, 1, 2, 3, 4), exclusive=True)
    to = grid(old, new, axis)
    found = to.copied(labelled(streamed(logits, 4), to, heads, "uint8"))
    assert np.array_equal(found, at_once(logits, new, axis).argmax(0))


@pytest.mark.parametrize("step", [1, 3, 100])
def test_how_slabs_are_cut_changes_nothing(step):
    logits = smooth(3, (13, 10, 11))
    found = labelled(streamed(logits, step), grid((13, 10, 11), (30, 21, 9), None), Heads((0, 1, 2), True), "uint8")
    assert np.array_equal(found, at_once(logits, (30, 21, 9), None).argmax(0))


def test_of_equal_classes_the_first_wins():
    logits = np.zeros((4, 3, 3, 3), np.float16)
    logits[2:] = 1
    heads = Heads((0, 1, 2, 3), True)
    assert np.unique(labelled(streamed(logits, 1), grid((3, 3, 3), (5, 5, 5), None), heads, "uint8")) == [2]


def test_regions_are_painted_in_their_order_above_a_half():
    logits = smooth(3, (8, 14, 15))
    heads = Heads((2, 1, 3), exclusive=False, threshold=2.0**-23)
    found = labelled(streamed(logits, 3), grid((8, 14, 15), (16, 20, 21), None), heads, "uint8")
    probability = 1 / (1 + np.exp(-at_once(logits, (16, 20, 21), None).astype(np.float32)))
    expected = np.zeros(found.shape, np.uint8)
    for value, one in zip((2, 1, 3), probability, strict=True):
        expected[one > 0.5] = value
    assert np.array_equal(found, expected)


def test_of_a_deep_volume_a_few_slices_are_in_memory(monkeypatch):
    slices, classes, plane = 300, 20, (16, 16)
    to = grid((slices, *plane), (slices + 50, *plane), None)
    tracemalloc.start()
    labelled(
        ((first, np.ones((classes, 1, *plane), "float16")) for first in range(slices)),
        to,
        Heads(tuple(range(classes)), True),
        "uint8",
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < slices * classes * np.prod(plane) * 2 / 4  # a quarter of all logits, blocks in float64 included
