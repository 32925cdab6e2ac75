"""The architectures for the LGG task, by name."""

from __future__ import annotations

from collections.abc import Callable

import segmentation_models_pytorch as smp
from torch import nn

from medseg.errors import InputError, unknown
from medseg.models.brain_unet import brain_unet
from medseg.models.nested_unet import unet3p, unetpp

RESNEXT = "resnext50_32x4d"


def brain_network(arch: str = "unet", features: int = 32) -> nn.Module:
    """The network of this architecture: (n, 3, h, w) float32 -> (n, 1, h, w) logits; h and w are multiples of 32.

    `features` is the width of the first level. Where the encoder has fixed widths, it scales only the decoder. Raises
    InputError with the known names.
    """
    if arch not in ARCHITECTURES:
        raise InputError(unknown("architecture", arch, ARCHITECTURES))
    return ARCHITECTURES[arch](features)


def resnext_unet(features: int, encoder: str = RESNEXT) -> nn.Module:
    """A U-Net on a residual encoder; the LGG project uses a ResNeXt-50."""
    widths = [features * 8, features * 4, features * 2, features, features // 2]
    return smp.Unet(encoder, encoder_weights=None, decoder_channels=widths)


def resnext_fpn(features: int, encoder: str = RESNEXT) -> nn.Module:
    """A feature pyramid network on a residual encoder; the LGG project uses a ResNeXt-50."""
    widths = {"decoder_pyramid_channels": features * 8, "decoder_segmentation_channels": features * 4}
    return smp.FPN(encoder, encoder_weights=None, **widths)


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "unet": brain_unet,
    "unet-residual": lambda features: brain_unet(features, residual=True),
    "unet-resnext50": resnext_unet,
    "fpn": resnext_fpn,
    "unetpp": unetpp,
    "unet3p": unet3p,
}
