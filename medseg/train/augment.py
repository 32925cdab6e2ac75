"""Random changes to a batch, on its device: one interpolation for crop, flip, offset, scale, rotation and bend."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from medseg.data.augmentation import FEWEST_HOLES, MOST_HOLES, WAVES, Augmentation


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
    kept = _outside_holes(changed, how) if how.holes else None
    if kept is not None:
        changed = changed * kept
    if how.noise:
        changed = changed + torch.randn_like(changed) * how.noise
    if masks is None:
        return changed, None
    moved = F.grid_sample(masks.float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return changed, (moved if kept is None else moved * kept).to(masks.dtype)


def _grid(images: torch.Tensor, size: tuple[int, ...], how: Augmentation) -> torch.Tensor:
    """Where each pixel of the result comes from: (n, *size, axes), x first, -1 to 1 from border to border."""
    matrices = _matrices(images, size, how)
    grid = F.affine_grid(matrices, [len(images), 1, *size], align_corners=False)
    if not how.bend:
        return grid
    return grid + torch.einsum("nij,nhwj->nhwi", matrices[..., :2], _waves(images, size, how))


def _waves(images: torch.Tensor, size: tuple[int, ...], how: Augmentation) -> torch.Tensor:
    """How far bending moves each pixel, (n, h, w, 2): rows along x and columns along y, each by its own sine."""
    count, device = len(images), images.device
    across, down = (2 * how.bend_by * _uniform(images, count, 2) * _chosen(images, how.bend)[:, None]).T[..., None]
    phases = torch.rand(2, count, 1, device=device) * (2 * math.pi)
    y, x = ((torch.arange(length, device=device) + 0.5) / length for length in size)
    moved = torch.empty(count, *size, 2, device=device)
    moved[..., 0] = (across * torch.sin(2 * math.pi * WAVES * y + phases[0]))[:, :, None]
    moved[..., 1] = (down * torch.sin(2 * math.pi * WAVES * x + phases[1]))[:, None, :]
    return moved


def _matrices(images: torch.Tensor, size: tuple[int, ...], how: Augmentation) -> torch.Tensor:
    """One affine matrix a sample, (n, axes, axes + 1), x first."""
    count, axes = len(images), len(size)
    zoom = torch.tensor([a / b for a, b in zip(size, images.shape[2:], strict=True)][::-1], device=images.device)
    moves = _chosen(images, how.move)[:, None]
    stretched = 1 + moves * _uniform(images, count, axes) * how.stretch
    scales = zoom * stretched / (1 + moves * _uniform(images, count, 1) * how.scale)
    for axis in how.flip_axes:
        scales[:, -1 - axis] *= 1 - 2 * _chosen(images, how.flip)
    offsets = moves * _uniform(images, count, axes) * 2 * how.shift + _uniform(images, count, axes) * (1 - zoom)
    linear = _rotations(images, axes, moves[:, 0] * how.rotate_deg, how.quarter_turns) @ torch.diag_embed(scales)
    return torch.cat([linear, offsets[:, :, None]], 2)


def _rotations(images: torch.Tensor, axes: int, largest_deg: torch.Tensor, quarter_turns: float) -> torch.Tensor:
    """Rotations of the x-y plane, (n, axes, axes), true to shape where the picture is square."""
    count = len(images)
    angles = _uniform(images, count, 1)[:, 0] * torch.deg2rad(largest_deg)
    turns = _chosen(images, quarter_turns) * torch.randint(1, 4, (count,), device=images.device)
    angles = angles + turns * (math.pi / 2)
    matrices = torch.eye(axes, device=images.device).repeat(count, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 0, 1], matrices[:, 1, 0] = -angles.sin(), angles.sin()
    return matrices


def _outside_holes(images: torch.Tensor, how: Augmentation) -> torch.Tensor:
    """(n, 1, h, w) of ones with holes of zeros in some samples, which keep a fit from relying on one landmark."""
    count, height, width = len(images), images.shape[-2], images.shape[-1]
    rows = torch.arange(height, device=images.device)[:, None] / height
    cols = torch.arange(width, device=images.device) / width
    corners = torch.rand(MOST_HOLES, 2, count, 1, 1, device=images.device) * (1 - how.hole_side)
    wanted = torch.randint(FEWEST_HOLES, MOST_HOLES + 1, (count, 1, 1), device=images.device)
    wanted = wanted * _chosen(images, how.holes)[:, None, None]
    inside = torch.zeros(count, height, width, dtype=torch.bool, device=images.device)
    for number, (top, left) in enumerate(corners):
        hole = (rows >= top) & (rows < top + how.hole_side) & (cols >= left) & (cols < left + how.hole_side)
        inside |= hole & (number < wanted)
    return (~inside)[:, None].to(images.dtype)


def _chosen(images: torch.Tensor, probability: float) -> torch.Tensor:
    """For each sample 1 with this probability, else 0."""
    return (torch.rand(len(images), device=images.device) < probability).to(images.dtype)


def _uniform(images: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, device=images.device) * 2 - 1
