"""DeepLabV3+ on a timm encoder."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn


def deeplab(encoder: str) -> nn.Module:
    """smp's DeepLabV3Plus, output stride 16, random weights: (n, 3, h, w) -> (n, 1, h, w) logits; multiples of 32."""
    return smp.DeepLabV3Plus(encoder, encoder_weights=None)
