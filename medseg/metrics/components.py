"""Masks reduced to their largest connected piece, as the LGG reference does before it scores a volume."""

from __future__ import annotations

from typing import Literal

import cc3d
import numpy as np

from medseg.metrics.overlap import dice
from medseg.task import Array

FACES: Literal[6] = 6  # voxels that share a face are connected


def largest(mask: Array) -> Array:
    """The largest connected piece of a mask (slice, row, col) as uint8 0/1; empty where the mask is."""
    return (cc3d.largest_k(mask != 0, k=1, connectivity=FACES) > 0).astype(np.uint8)


def volume_dice(answer: Array, truth: Array) -> float:
    """LGG's DSC of a patient's volume: Dice of the answer's largest piece with the truth; 1 where both are empty."""
    return dice(largest(answer), truth)
