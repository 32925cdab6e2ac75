"""Tiles put together slab by slab give what sums over the whole volume at once give, bit by bit."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.tasks.volume.asking import asked
from medseg.tasks.volume.window import Window, _importance, _places, slabs

RNG = np.random.default_rng(0)
CUBE = Window((8, 8, 6))


def scaled(batch: np.ndarray) -> np.ndarray:
    """A network of 2 classes whose answer depends on where in its tile a voxel lies, as real ones' do."""
    places = np.arange(batch[0, 0].size, dtype=np.float32).reshape(batch.shape[2:]) / batch[0, 0].size
    return np.stack([batch[:, 0] * 3 + places, batch[:, 0] - places], 1).astype(np.float32)


def whole(image: np.ndarray, window: Window, mirrors: tuple[int, ...] = ()) -> np.ndarray:
    """The sums as nnU-Net makes them: over the padded volume at once."""
    rank = len(window.patch)
    missing = [max(0, tile - size) for size, tile in zip(image.shape[-rank:], window.patch, strict=True)]
    pads = [(one // 2, one - one // 2) for one in missing]
    padded = np.pad(image, [(0, 0)] * (image.ndim - rank) + pads)
    sums = np.zeros((2, *padded.shape[1:]), window.accumulator)
    total = np.zeros(padded.shape[1:], window.accumulator)
    leading = [()] if rank == 3 else [(index,) for index in range(padded.shape[1])]
    for place in [(*lead, *place) for lead in leading for place in _places(padded.shape[-rank:], window)]:
        tile = padded[(slice(None), *place)]
        answer = scaled(tile[None])[0]
        ways = [way for count in range(1, len(mirrors) + 1) for way in combinations(mirrors, count)]
        for way in ways:
            axes = [axis + 1 for axis in way]
            answer += np.flip(scaled(np.flip(tile, axes)[None])[0], axes)
        answer /= len(ways) + 1
        sums[(slice(None), *place)] += answer * _importance(window).astype(np.float32)
        total[place] += _importance(window)
    found = sums / total
    cut = [slice(low, low + size) for (low, _), size in zip(pads, image.shape[-rank:], strict=True)]
    return found[(..., *cut)]


def joined(image, window, mirrors=(), infer=scaled, batch=1):
    parts = list(slabs(image, partial(asked, infer=infer, mirrors=mirrors, batch=batch), window))
    firsts = np.cumsum([0, *(part.shape[1] for _, part in parts)])
    assert [first for first, _ in parts] == firsts[:-1].tolist()
    return np.concatenate([part for _, part in parts], 1)


@pytest.mark.parametrize("accumulator", ["float16", "float32"])
@pytest.mark.parametrize("steps", ["even", "fixed"])
@pytest.mark.parametrize("shape", [(8, 8, 6), (21, 17, 13), (3, 30, 5), (40, 2, 2), (9, 8, 7)])
def test_slabs_are_the_whole(shape, steps, accumulator):
    image = RNG.normal(size=(1, *shape)).astype(np.float32)
    window = Window((8, 8, 6), steps=steps, accumulator=accumulator)
    assert np.array_equal(joined(image, window), whole(image, window))


@pytest.mark.parametrize("shape", [(4, 9, 12), (2, 5, 20), (1, 8, 6)])
@pytest.mark.parametrize("batch", [1, 3])
def test_slices_are_pictures_of_their_own(shape, batch):
    image = RNG.normal(size=(1, *shape)).astype(np.float32)
    window = Window((8, 6))
    assert np.array_equal(joined(image, window, batch=batch), whole(image, window))


@pytest.mark.parametrize("mirrors", [(0,), (1, 2), (0, 1, 2)])
def test_mirrored_answers_are_summed_in_nnunets_order(mirrors):
    image = RNG.normal(size=(1, 12, 11, 10)).astype(np.float32)
    assert np.array_equal(joined(image, CUBE, mirrors), whole(image, CUBE, mirrors))


def test_no_more_than_a_tiles_depth_is_held_and_the_first_slab_comes_before_the_last_tile():
    batches = []

    def count(batch):
        batches.append(len(batch))
        return scaled(batch)

    image = RNG.normal(size=(1, 80, 8, 6)).astype(np.float32)
    found = slabs(image, partial(asked, infer=count), CUBE)
    first, part = next(found)
    assert (first, part.shape[1]) == (0, 4)
    assert sum(batches) < 8  # of 19: those in flight, not all


def test_tiles_of_one_value_are_asked_once():
    batches = []

    def count(batch):
        batches.append(batch)
        return scaled(batch)

    image = np.zeros((1, 40, 8, 6), np.float32)
    image[:, :8] = RNG.normal(size=(8, 8, 6))
    assert np.array_equal(joined(image, CUBE, (0,), count), whole(image, CUBE, (0,)))
    assert sum(not batch.any() for batch in batches) <= 4  # as many as are in flight at the time


@pytest.mark.parametrize("accumulator", ["float16", "float32"])
@pytest.mark.parametrize("rows", [slice(0, 5), slice(4, 6), slice(9, 17), slice(3, 17)])
@pytest.mark.parametrize("patch", [(8, 8, 6), (8, 6), (30, 30, 30)])
def test_strips_of_rows_are_those_of_the_whole(patch, rows, accumulator):
    image = RNG.normal(size=(1, 12, 17, 13)).astype(np.float32)
    window = Window(patch, accumulator=accumulator)
    parts = [part for _, part in slabs(image, partial(asked, infer=scaled), window, rows)]
    assert np.array_equal(np.concatenate(parts, 1), whole(image, window)[:, :, rows])


def test_sums_beyond_float16_are_an_error():
    with pytest.raises(InputError, match="beyond the range of float16"):
        joined(np.full((1, 8, 8, 6), 1e6, np.float32), CUBE)
