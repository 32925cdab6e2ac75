"""The losses the seed projects fit with, by name: (logits, target) -> a scalar. MONAI's and PyTorch's underneath.

Masks are (n, classes, h, w) with values 0 and 1; classes are (n,) integers. All of them compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses.dice import DiceLoss
from monai.losses.tversky import TverskyLoss
from torch.nn import functional as F

from medseg.errors import InputError, unknown

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

FALSE_NEGATIVE_WEIGHT = 8  # LUNA: a missed nodule pixel costs 8 times more; later stages can only drop candidates
FOCAL_GAMMA = 0.75  # Focal-Tversky (Abraham and Khan, 2018): 1 / gamma = 4 / 3
SAMPLED = 0.5  # the share of pixels that bce-sampled looks at


def loss_named(name: str) -> Loss:
    """The loss of this name. Raises InputError listing the names there are."""
    if name not in LOSSES:
        raise InputError(unknown("loss", name, LOSSES))
    chosen = LOSSES[name]
    return lambda logits, target: chosen(logits.float(), target)


def bce(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy, mean over pixels and classes."""
    return F.binary_cross_entropy_with_logits(logits, masks.float())


def bce_sampled(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy over a random half of the pixels, drawn anew each time (LGG)."""
    drawn = torch.rand_like(logits) < SAMPLED
    return F.binary_cross_entropy_with_logits(logits[drawn], masks[drawn].float())


def bce_tversky(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Half binary cross entropy, half Tversky with equal weights for both errors (UW-Madison)."""
    return 0.5 * bce(logits, masks) + 0.5 * _TVERSKY(logits, masks)


def focal_tversky(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Tversky that weighs a missed pixel 0.7 and a false one 0.3, raised to 0.75 (LGG)."""
    return _TVERSKY_MISSES(logits, masks).clamp_min(1e-6) ** FOCAL_GAMMA


def luna_dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice of each picture plus 8 times Dice over its nodule's pixels alone, where only misses count (LUNA)."""
    probabilities = logits.sigmoid()
    return _PLAIN_DICE(probabilities, masks) + FALSE_NEGATIVE_WEIGHT * _PLAIN_DICE(probabilities * masks, masks)


# Dice and its kin are taken over the whole batch, so that a slice without foreground does not dominate; smoothing by
# one pixel keeps an empty batch finite.
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
