"""A network fitted at another size than its task's pipeline gives it: it resizes its pictures and its logits itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def sized(network: nn.Module, size: int) -> nn.Module:
    """A network of size x size pictures for pictures of any: (n, c, h, w) float32 -> (n, classes, h, w) logits.

    As part of the exported graph it needs nothing of engines, pipelines and servers. Bilinear without antialiasing, as
    everywhere here: ONNX's Resize has none that every engine takes.
    """
    return _Sized(network, size)


class _Sized(nn.Module):
    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        small = F.interpolate(pictures, (self.size, self.size), mode="bilinear")
        return F.interpolate(self.network(small), pictures.shape[2:], mode="bilinear")
