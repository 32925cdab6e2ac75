"""The losses of the original projects, by name: (logits, target) -> a scalar. They use MONAI and PyTorch.

Logits and masks are (n, classes, h, w), masks with values 0 and 1. For `cross-entropy` on whole pictures, logits are
(n, classes) and targets (n,) integers. All losses compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses.dice import DiceLoss
from monai.losses.tversky import TverskyLoss
from torch.nn import functional as F

from medseg.errors import InputError, unknown

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

FALSE_NEGATIVE_WEIGHT = 8  # LUNA: a missed nodule pixel costs 8 times more, because later stages only drop candidates
FOCAL_GAMMA = 0.75  # Focal-Tversky (Abraham and Khan, 2018): 1 / gamma = 4 / 3
SAMPLED = 0.5  # the share of pixels that bce-sampled uses


def loss_named(name: str) -> Loss:
    """The loss of this name. Raises InputError with the known names."""
    if name not in LOSSES:
        raise InputError(unknown("loss", name, LOSSES))
    chosen = LOSSES[name]
    return lambda logits, target: chosen(logits.float(), target)


def bce(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy, mean over pixels and classes."""
    return F.binary_cross_entropy_with_logits(logits, masks.float())


def bce_sampled(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy over a random half of the pixels, drawn again at each call (LGG)."""
    drawn = torch.rand_like(logits) < SAMPLED
    return F.binary_cross_entropy_with_logits(logits[drawn], masks[drawn].float())


def bce_tversky(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Half binary cross entropy plus half Tversky with equal weights for both kinds of error (UW-Madison)."""
    return 0.5 * bce(logits, masks) + 0.5 * _TVERSKY(logits, masks)


def focal_tversky(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Tversky loss with weight 0.7 for a missed pixel and 0.3 for a false one, to the power 0.75 (LGG)."""
    return _TVERSKY_MISSES(logits, masks).clamp_min(1e-6) ** FOCAL_GAMMA


def luna_dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice loss of each picture, plus 8 times Dice loss over its nodule's pixels only, where misses count (LUNA)."""
    probabilities = logits.sigmoid()
    return _PLAIN_DICE(probabilities, masks) + FALSE_NEGATIVE_WEIGHT * _PLAIN_DICE(probabilities * masks, masks)


# Dice, IoU and Tversky are computed over the whole batch, so that a slice without foreground does not dominate.
# Smoothing by one pixel keeps the loss of an empty batch finite.
_DICE = DiceLoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)
_IOU = DiceLoss(sigmoid=True, batch=True, jaccard=True, smooth_nr=1, smooth_dr=1)
_PLAIN_DICE = DiceLoss(smooth_nr=1, smooth_dr=1)
_TVERSKY = TverskyLoss(sigmoid=True, batch=True, alpha=0.5, beta=0.5, smooth_nr=1, smooth_dr=1)
_TVERSKY_MISSES = TverskyLoss(sigmoid=True, batch=True, alpha=0.3, beta=0.7, smooth_nr=1, smooth_dr=1)

LOSSES: dict[str, Loss] = {
    "bce": bce,
    "bce-sampled": bce_sampled,
    "bce-tversky": bce_tversky,
    "cross-entropy": F.cross_entropy,
    "dice": _DICE,
    "focal-tversky": focal_tversky,
    "iou": _IOU,
    "luna-dice": luna_dice,
}
