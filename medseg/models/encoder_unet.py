"""A U-Net on a classifier's encoder."""

from __future__ import annotations

from collections.abc import Collection

import segmentation_models_pytorch as smp
from torch import nn


def encoder_unet(
    encoder: str = "efficientnet-b1", channels: int = 3, classes: int = 3, without: Collection[str] = ()
) -> nn.Module:
    """smp's Unet with random weights: (n, channels, h, w) float32 -> (n, classes, h, w) logits.

    h and w are multiples of 32. `without` names parts of the encoder that do not affect the output. They are removed,
    because they would be saved, and because DDP refuses to train a part without gradient.
    """
    network = smp.Unet(encoder, encoder_weights=None, in_channels=channels, classes=classes)
    for name in without:
        if hasattr(network.encoder, name):
            setattr(network.encoder, name, nn.Identity())
    return network
