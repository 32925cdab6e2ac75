"""Which slices a sheet of several runs shows."""

import numpy as np
import pytest

from medseg.data.picture import most_different


def masks(*sizes: int) -> np.ndarray:
    """A mask (slice, 4, 4) with so many voxels in each slice."""
    return np.stack([np.arange(16).reshape(4, 4) < size for size in sizes]).astype(np.uint8)


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        (masks(0, 4, 9, 1, 0), masks(0, 5, 2, 1, 0), [1, 2]),
        (masks(0, 4, 9, 1, 3), masks(8, 5, 2, 0, 3), [0, 2]),
        (masks(0, 4, 0, 9, 1), masks(0, 4, 0, 9, 1), [1, 3]),
        (masks(0, 0, 0, 0, 0), masks(0, 0, 0, 0, 0), [0, 1]),
        (masks(0, 0, 6, 0, 0), masks(0, 0, 2, 0, 0), [2]),
    ],
    ids=["differing", "most differing", "alike: the fullest", "empty", "one alone"],
)
def test_slices_with_nothing_to_tell_are_left_out(one, other, shown):
    assert most_different([one, other], 2) == shown
