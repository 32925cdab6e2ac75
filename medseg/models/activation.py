"""What losses and scores compute from a network's logits, for each activation: sigmoid or softmax."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from medseg.models.losses import Loss, loss_named


def class_odds(logits: torch.Tensor, activation: str, classes: int) -> torch.Tensor:
    """Each class's log-odds (n, classes, h, w) float32 from logits (n, outputs, h, w).

    Their sigmoid is the class's probability. With softmax, a class's odds are against all other outputs together. The
    classes are the last outputs; a background comes before them.
    """
    if activation == "sigmoid":
        return logits.float()
    probability = F.log_softmax(logits.float(), 1)[:, -classes:]
    return probability - torch.log1p(-probability.exp().clamp_max(1 - 1e-7))


def decided(logits: torch.Tensor, activation: str, classes: int) -> torch.Tensor:
    """Numbers (n, classes, h, w) that are above 0 exactly where a pixel belongs to the class."""
    if activation == "sigmoid":
        return logits
    best = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)
    return best[:, -classes:].float() - 0.5


def mask_loss(name: str, activation: str) -> Loss:
    """The loss of this name for masks (n, classes, h, w).

    With softmax, `cross-entropy` takes each pixel's class, and all other losses take each class's odds. Raises
    InputError with the known names.
    """
    chosen = loss_named(name)
    if activation == "sigmoid":
        return chosen
    if name == "cross-entropy":
        return lambda logits, masks: F.cross_entropy(logits.float(), _classes(logits, masks))
    return lambda logits, masks: chosen(class_odds(logits, activation, masks.shape[1]), masks)


def _classes(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The channel (n, h, w) of each pixel's class; 0, the background's channel, for a pixel without a class."""
    before = logits.shape[1] - masks.shape[1]
    values = torch.arange(before, logits.shape[1], device=masks.device).view(1, -1, 1, 1)
    found: torch.Tensor = (masks * values).amax(1)
    return found
