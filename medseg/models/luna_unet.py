"""The LUNA segmentation U-Net: from 7 neighbouring CT slices to one logit per pixel of the middle slice."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


def luna_unet(context: int = 3, features: int = 16, depth: int = 3) -> nn.Module:
    """U-Net of "Deep Learning with PyTorch", part 2: (n, 7, h, w) float32 HU in [-1000, 1000] -> (n, 1, h, w) logits.

    The 7 channels are 2 * context + 1. h and w are multiples of 2**(depth - 1). It has 118,271 parameters at the
    defaults, and the state keys of the published checkpoint. The input's batch norm takes raw HU, so it must stay in
    float32 when the rest of the network is converted to FP16.
    """
    return _LunaUnet(2 * context + 1, features, depth)


class _LunaUnet(nn.Module):
    def __init__(self, channels: int, features: int, depth: int) -> None:
        super().__init__()
        self.input_batchnorm = nn.BatchNorm2d(channels)
        self.unet = _Unet(channels, features, depth)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                _initialise(module)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return self.unet(self.input_batchnorm(slices))


class _Unet(nn.Module):
    def __init__(self, channels: int, features: int, depth: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(depth)]
        self.down_path = nn.ModuleList(_Block(a, b) for a, b in zip([channels, *widths[:-1]], widths, strict=True))
        up = widths[::-1]
        self.up_path = nn.ModuleList(_Up(a, b) for a, b in pairwise(up))
        self.last = nn.Conv2d(features, 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, down in enumerate(self.down_path):
            x = down(x if level == 0 else nn.functional.avg_pool2d(x, 2))
            skips.append(x)
        for up, skip in zip(self.up_path, skips[-2::-1], strict=True):
            x = up(x, skip)
        return self.last(x)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.conv_block = _Block(inputs, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv_block(torch.cat([self.up(x), skip], 1))


def _initialise(module: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Set Kaiming normal weights and small normal biases, as the network's authors do."""
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if module.bias is not None:
        bound = 1 / nn.init._calculate_fan_in_and_fan_out(module.weight)[1] ** 0.5
        nn.init.normal_(module.bias, -bound, bound)
