"""A network trained at another size than its task's pipeline gives: it resizes its pictures and its logits itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def sized(network: nn.Module, size: int, native: int) -> nn.Module:
    """A network for size x size pictures, wrapped for other sizes: (n, c, h, w) float32 -> (n, classes, h, w) logits.

    `native` is the side in pixels of the pictures that the task's pipeline gives. Resizing is a part of the exported
    graph, so engines, pipelines and servers need no change.
    """
    return _Sized(network, size, native)


def shrunk(pictures: torch.Tensor, size: int, native: int) -> torch.Tensor:
    """Pictures (n, c, native, native) as (n, c, size, size): averages of whole pixels, then bilinear.

    Without the average, thin structures could fall between the pixels that bilinear uses. ONNX's own antialiasing is
    supported by ONNX Runtime only.
    """
    step = native // size
    averaged = F.avg_pool2d(pictures, step) if step > 1 else pictures
    return F.interpolate(averaged, (size, size), mode="bilinear")


class _Sized(nn.Module):
    def __init__(self, network: nn.Module, size: int, native: int) -> None:
        super().__init__()
        self.network, self.size, self.native = network, size, native

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits = self.network(shrunk(pictures, self.size, self.native))
        return F.interpolate(logits, pictures.shape[2:], mode="bilinear")
