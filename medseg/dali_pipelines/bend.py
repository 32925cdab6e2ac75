"""Smooth bending of a batch, in torch: DALI's `remap` is for GPUs alone, its `water` bends every sample alike."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

WAVES = 2  # across the picture: few enough to bend organs and not to crumple them


def bent(images: torch.Tensor, masks: torch.Tensor, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch (n, c, h, w) with rows and columns displaced by sines, images linear, masks nearest.

    `waves` (n, 4): amplitudes along x and y as shares of the side, phases in radians; samples without are left alone.
    """
    chosen = torch.nonzero(waves[:, :2].any(dim=1))[:, 0].to(images.device)
    if len(chosen) == 0:
        return images, masks
    places = _places(images, waves.to(images.device)[chosen])
    how: dict[str, Any] = {"padding_mode": "border", "align_corners": False}
    images[chosen] = F.grid_sample(images[chosen], places, mode="bilinear", **how)
    masks[chosen] = F.grid_sample(masks[chosen].float(), places, mode="nearest", **how).to(masks.dtype)
    return images, masks


def _places(images: torch.Tensor, waves: torch.Tensor) -> torch.Tensor:
    """Where each pixel comes from, (n, h, w, 2): x and y, -1 to 1 from border to border, as grid_sample wants them."""
    y, x = ((torch.arange(size, device=images.device) + 0.5) / size for size in images.shape[2:])
    across, down, phase_x, phase_y = waves[:, :, None, None].unbind(dim=1)
    moved_x = x + across * torch.sin(2 * math.pi * WAVES * y[:, None] + phase_x)
    moved_y = y[:, None] + down * torch.sin(2 * math.pi * WAVES * x + phase_y)
    return 2 * torch.stack([moved_x, moved_y], dim=-1) - 1
