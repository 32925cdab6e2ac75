"""Random changes to a batch's values, on its device, whichever loader augmented its pictures."""

from __future__ import annotations

import torch

from medseg.data.augmentation import Colours

_FLAT = 1e-3  # the smallest range that a channel's gamma is taken over


def coloured(images: torch.Tensor, how: Colours) -> torch.Tensor:
    """The batch (n, c, ...) float32 with its values changed at random, each sample and channel on its own."""
    if how == Colours():
        return images
    changed = images * (1 + how.contrast * _uniform(images)) + how.brightness * _uniform(images)
    if how.gamma:
        changed = _curved(changed, (how.gamma * _uniform(images)).exp())
    return _replaced(changed, how) if how.replaced else changed


def _curved(images: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
    """Each channel raised to its exponent between its own least and largest value, which stay."""
    low, high = (most(images.flatten(2), 2).view_as(exponents) for most in (torch.amin, torch.amax))
    spread = (high - low).clamp_min(_FLAT)
    return ((images - low) / spread).clamp(0, 1) ** exponents * spread + low


def _replaced(images: torch.Tensor, how: Colours) -> torch.Tensor:
    """Some samples with one of the replaceable channels showing the channel `by` instead."""
    count, device = len(images), images.device
    chosen = torch.rand(count, device=device) < how.replaced
    which = torch.randint(0, len(how.replaceable), (count,), device=device)
    channels = torch.tensor(how.replaceable, device=device)[which]
    # where, not an index by what was chosen: with an index, a GPU would have to tell the CPU how many were chosen
    here = chosen[:, None] & (torch.arange(images.shape[1], device=device) == channels[:, None])
    return torch.where(here.reshape(*here.shape, *(1 for _ in images.shape[2:])), images[:, how.by, None], images)


def _uniform(images: torch.Tensor) -> torch.Tensor:
    """A number of -1 to 1 for each channel of each sample, (n, c, 1, ...)."""
    shape = (*images.shape[:2], *(1 for _ in images.shape[2:]))
    return torch.rand(shape, device=images.device) * 2 - 1
