"""DeepLabV3+ on a timm encoder."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn


def deeplab(encoder: str) -> nn.Module:
    """smp's DeepLabV3Plus with output stride 16 and random weights: (n, 3, h, w) float32 -> (n, 1, h, w) logits.

    h and w are multiples of 32.
    """
    return smp.DeepLabV3Plus(encoder, encoder_weights=None)
