"""The brain U-Net of mateuszbuda/brain-segmentation-pytorch, and its residual variant."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

LEVELS = 4


def brain_unet(features: int = 32, residual: bool = False) -> nn.Module:
    """U-Net: (n, 3, h, w) float32 -> (n, 1, h, w) logits; h and w are multiples of 16.

    It has 7,763,041 parameters at the defaults, and the state keys of the public checkpoint. `residual` adds a 1 x 1
    shortcut to each block.
    """
    return _BrainUnet(features, residual)


class _BrainUnet(nn.Module):
    def __init__(self, features: int, residual: bool) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(LEVELS + 1)]
        inputs = 3
        for level, width in enumerate(widths[:-1], 1):
            self.add_module(f"encoder{level}", _block(inputs, width, f"enc{level}", residual))
            inputs = width
        self.bottleneck = _block(inputs, widths[-1], "bottleneck", residual)
        for level in range(LEVELS, 0, -1):
            width = widths[level - 1]
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2))
            self.add_module(f"decoder{level}", _block(2 * width, width, f"dec{level}", residual))
        self.conv = nn.Conv2d(features, 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in range(1, LEVELS + 1):
            skips.append(self.get_submodule(f"encoder{level}")(x))
            x = nn.functional.max_pool2d(skips[-1], 2)
        x = self.bottleneck(x)
        for level in range(LEVELS, 0, -1):
            x = torch.cat([self.get_submodule(f"upconv{level}")(x), skips[level - 1]], 1)
            x = self.get_submodule(f"decoder{level}")(x)
        return self.conv(x)


def _block(inputs: int, width: int, name: str, residual: bool) -> nn.Module:
    layers = nn.Sequential(
        OrderedDict(
            {
                f"{name}conv1": nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                f"{name}norm1": nn.BatchNorm2d(width),
                f"{name}relu1": nn.ReLU(inplace=True),
                f"{name}conv2": nn.Conv2d(width, width, 3, padding=1, bias=False),
                f"{name}norm2": nn.BatchNorm2d(width),
                f"{name}relu2": nn.ReLU(inplace=True),
            }
        )
    )
    return _Residual(layers, inputs, width) if residual else layers


class _Residual(nn.Module):
    def __init__(self, layers: nn.Module, inputs: int, width: int) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = nn.Conv2d(inputs, width, kernel_size=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) + self.shortcut(x)
