"""Logits of masks by their network's activation: what losses and scores take of them."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from medseg.models.losses import Loss, loss_named


def class_odds(logits: torch.Tensor, activation: str, classes: int) -> torch.Tensor:
    """Each class's log-odds (n, classes, h, w) float32, whose sigmoid is its probability, of logits (n, outputs, h, w).

    Of softmax a class's odds are against all others together, the background, if there is one, before the classes.
    """
    if activation == "sigmoid":
        return logits.float()
    probability = F.log_softmax(logits.float(), 1)[:, -classes:]
    return probability - torch.log1p(-probability.exp().clamp_max(1 - 1e-7))


def decided(logits: torch.Tensor, activation: str, classes: int) -> torch.Tensor:
    """What is above 0 where a pixel is a class's, (n, classes, h, w)."""
    if activation == "sigmoid":
        return logits
    best = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)
    return best[:, -classes:].float() - 0.5


def mask_loss(name: str, activation: str) -> Loss:
    """The loss of this name for masks (n, classes, h, w); of softmax it takes each class's odds, or each pixel's class.

    Raises InputError listing the names there are.
    """
    chosen = loss_named(name)
    if activation == "sigmoid":
        return chosen
    if name == "cross-entropy":
        return lambda logits, masks: F.cross_entropy(logits.float(), _classes(logits, masks))
    return lambda logits, masks: chosen(class_odds(logits, activation, masks.shape[1]), masks)


def _classes(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The channel (n, h, w) of each pixel's class: of none the first, which is the background's."""
    before = logits.shape[1] - masks.shape[1]
    values = torch.arange(before, logits.shape[1], device=masks.device).view(1, -1, 1, 1)
    found: torch.Tensor = (masks * values).amax(1)
    return found
