"""What DALI's operators cannot do with a batch, in torch on the batch's own device: quarter turns, bending and holes.

DALI's `remap` is for GPUs alone, its `water` bends every sample alike; holes come last, so they are here too.
All functions change the batch in place: images (n, c, h, w) float32 and masks (n, classes, h, w) uint8 alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from medseg.dali_pipelines.random_changes import Drawn
from medseg.data.augmentation import WAVES
from medseg.task import Array


def change(images: torch.Tensor, masks: torch.Tensor, drawn: Sequence[Drawn]) -> None:
    """Turn, bend and punch each sample as it was drawn."""
    for index, one in enumerate(drawn):
        if one.turns:
            for batch in (images, masks):
                batch[index] = batch[index].rot90(one.turns, (1, 2)).clone()
    bend(images, masks, np.stack([one.wave for one in drawn]))
    for index, one in enumerate(drawn):
        punch(images[index], masks[index], one)


def bend(images: torch.Tensor, masks: torch.Tensor, waves: Array) -> None:
    """Displace rows and columns by sines, images linear, masks nearest; `waves` (n, 4) are those of `Drawn.wave`."""
    (bent,) = np.nonzero(waves[:, :2].any(axis=1))
    if len(bent) == 0:
        return
    chosen = torch.from_numpy(bent).to(images.device)
    places = torch.from_numpy(_places((images.shape[2], images.shape[3]), waves[bent])).to(images.device)
    how: dict[str, Any] = {"padding_mode": "border", "align_corners": False}
    images[chosen] = F.grid_sample(images[chosen], places, mode="bilinear", **how)
    masks[chosen] = F.grid_sample(masks[chosen].float(), places, mode="nearest", **how).to(masks.dtype)


def punch(image: torch.Tensor, mask: torch.Tensor, drawn: Drawn) -> None:
    """Zeros in the holes of one sample (c, h, w)."""
    sides = np.array(image.shape[1:] * 2)
    for top, left, height, width in np.round(drawn.holes * sides).astype(int).tolist():
        hole = (slice(None), slice(top, top + height), slice(left, left + width))
        image[hole] = 0
        mask[hole] = 0


def _places(size: tuple[int, int], waves: Array) -> Array:
    """Where each pixel comes from, (n, *size, 2) float32: x and y, -1 to 1 from border to border, as grid_sample wants.

    In numpy: torch's threads would take ten times the CPU time over so little.
    """
    y, x = ((np.arange(length, dtype=np.float32) + 0.5) / length for length in size)
    across, down, phase_x, phase_y = waves.T[:, :, np.newaxis]
    places = np.empty((len(waves), *size, 2), np.float32)
    moved_x = across * np.sin(2 * np.pi * WAVES * y + phase_x)  # (n, h): each row by its own amount
    moved_y = down * np.sin(2 * np.pi * WAVES * x + phase_y)  # (n, w)
    places[..., 0] = 2 * (x + moved_x[:, :, np.newaxis]) - 1
    places[..., 1] = 2 * (y[:, np.newaxis] + moved_y[:, np.newaxis]) - 1
    return places
