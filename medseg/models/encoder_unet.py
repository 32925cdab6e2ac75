"""A U-Net on a classifier's encoder."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn


def encoder_unet(encoder: str = "efficientnet-b1", channels: int = 3, classes: int = 3) -> nn.Module:
    """smp's Unet with random weights: (n, channels, h, w) float32 -> (n, classes, h, w) logits; multiples of 32."""
    return smp.Unet(encoder, encoder_weights=None, in_channels=channels, classes=classes)
