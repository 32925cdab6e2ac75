"""Random changes to a batch, on its device: one interpolation for crop, flip, offset, scale, rotation and bend."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How much a batch is changed; lengths are shares of half the picture, as in grid_sample's coordinates."""

    flips: tuple[int, ...] = ()  # axes that are mirrored half of the time, counted from the end: -1 is left-right
    offset: float = 0.0
    scale: float = 0.0
    rotate_deg: float = 0.0  # in the plane of the last two axes
    quarter_turns: float = 0.0  # the probability of one to three turns of 90 degrees
    bend: float = 0.0  # elastic: the largest displacement, interpolated from a 4 x 4 grid
    holes: float = 0.0  # the probability of 5 holes, each a twelfth of the sides
    noise: float = 0.0  # standard deviation in the picture's own unit
    crop: tuple[int, ...] = ()  # the size that a random part is cut to; empty keeps the size


# As the seed projects did; the medical reason for LUNA's full rotation is that a nodule has no upright.
AUGMENTATIONS = {
    "luna-segment": Augmentation((-2, -1), offset=0.03, scale=0.2, rotate_deg=180, noise=25, crop=(64, 64)),
    "luna-nodule": Augmentation((-3, -2, -1), offset=0.1, scale=0.2, rotate_deg=180, noise=25),
    "luna-malignancy": Augmentation((-3, -2, -1), offset=0.1, scale=0.2, rotate_deg=180, noise=25),
    "gi-tract": Augmentation((-1,), offset=0.05, scale=0.05, rotate_deg=10, bend=0.03, holes=0.5),
    "brain-lgg": Augmentation((-1,), scale=0.05, rotate_deg=15),
    "stas-efficientnetv2-m": Augmentation(quarter_turns=0.3),
    "stas-eca-nfnet-l2": Augmentation(quarter_turns=0.3),
    "stas-efficientnet-b6": Augmentation(quarter_turns=0.3),
}


def augment(
    images: torch.Tensor, masks: torch.Tensor | None, how: Augmentation
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The batch changed at random, each sample on its own; masks (n, classes, h, w) move with their images.

    Images are (n, c, h, w) or (n, c, d, h, w) float32. What moves in from outside repeats the border.
    """
    if how == Augmentation():
        return images, masks
    size = how.crop or tuple(images.shape[2:])
    grid = _grid(images, size, how)
    changed = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if how.holes:
        changed = changed * _holes(changed, how.holes)
    if how.noise:
        changed = changed + torch.randn_like(changed) * how.noise
    if masks is None:
        return changed, None
    moved = F.grid_sample(masks.float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return changed, moved.to(masks.dtype)


def _grid(images: torch.Tensor, size: tuple[int, ...], how: Augmentation) -> torch.Tensor:
    """Where each pixel of the result comes from: (n, *size, axes), x first, -1 to 1 from border to border."""
    matrices = _matrices(images, size, how)
    grid = F.affine_grid(matrices, [len(images), 1, *size], align_corners=False)
    if not how.bend:
        return grid
    coarse = (torch.rand(len(images), 2, 4, 4, device=images.device) * 2 - 1) * how.bend
    fine = F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    return grid + fine.movedim(1, -1)


def _matrices(images: torch.Tensor, size: tuple[int, ...], how: Augmentation) -> torch.Tensor:
    """One affine matrix a sample, (n, axes, axes + 1), x first."""
    count, axes = len(images), len(size)
    zoom = torch.tensor([a / b for a, b in zip(size, images.shape[2:], strict=True)][::-1], device=images.device)
    scales = zoom * (1 + _uniform(images, count, axes) * how.scale)
    for axis in how.flips:
        scales[:, -1 - axis] *= torch.randint(0, 2, (count,), device=images.device) * 2 - 1
    offsets = _uniform(images, count, axes) * (how.offset + 1 - zoom)
    linear = _rotations(images, axes, how) @ torch.diag_embed(scales)
    return torch.cat([linear, offsets[:, :, None]], 2)


def _rotations(images: torch.Tensor, axes: int, how: Augmentation) -> torch.Tensor:
    """Rotations of the x-y plane, (n, axes, axes), true to shape where the picture is square."""
    count = len(images)
    angles = _uniform(images, count, 1)[:, 0] * math.radians(how.rotate_deg)
    turned = torch.rand(count, device=images.device) < how.quarter_turns
    angles = angles + turned * torch.randint(1, 4, (count,), device=images.device) * (math.pi / 2)
    matrices = torch.eye(axes, device=images.device).repeat(count, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 0, 1], matrices[:, 1, 0] = -angles.sin(), angles.sin()
    return matrices


def _holes(images: torch.Tensor, probability: float) -> torch.Tensor:
    """(n, 1, h, w) of ones with holes of zeros in some samples, which keep a fit from relying on one landmark."""
    count, height, width = len(images), images.shape[-2], images.shape[-1]
    rows = torch.arange(height, device=images.device)[:, None] / height
    cols = torch.arange(width, device=images.device) / width
    corners = torch.rand(5, 2, count, 1, 1, device=images.device)
    inside = [(rows >= top) & (rows < top + 1 / 12) & (cols >= left) & (cols < left + 1 / 12) for top, left in corners]
    wanted = torch.rand(count, 1, 1, device=images.device) < probability
    return (~(torch.stack(inside).any(0) & wanted))[:, None].to(images.dtype)


def _uniform(images: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, device=images.device) * 2 - 1
