"""The LUNA candidate classifier: from a 3-D crop of a CT to two logits. The malignancy network has the same layers."""

from __future__ import annotations

import torch
from torch import nn


def luna_cnn(features: int = 8) -> nn.Module:
    """3-D CNN of "Deep Learning with PyTorch", part 2: (n, 1, 32, 48, 48) float32 HU in [-1000, 1000] -> (n, 2) logits.

    It has 222,220 parameters at the defaults, and the state keys of the published checkpoint. The second logit is for
    the finding (nodule, malignant). The first batch norm takes raw HU, so it must stay in float32 when the rest of the
    network is converted to FP16.
    """
    return _LunaCnn(features)


class _LunaCnn(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.tail_batchnorm = nn.BatchNorm3d(1)
        self.block1 = _Block(1, features)
        self.block2 = _Block(features, features * 2)
        self.block3 = _Block(features * 2, features * 4)
        self.block4 = _Block(features * 4, features * 8)
        self.head_linear = nn.Linear(features * 8 * 2 * 3 * 3, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                _initialise(module)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        x = self.tail_batchnorm(crops)
        for block in (self.block1, self.block2, self.block3, self.block4):
            x = block(x)
        return self.head_linear(x.flatten(1))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool3d(self.conv2(self.conv1(x).relu()).relu(), 2)


def _initialise(module: nn.Conv3d | nn.Linear) -> None:
    """Set Kaiming normal weights and small normal biases, as the network's authors do."""
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    bound = 1 / nn.init._calculate_fan_in_and_fan_out(module.weight)[1] ** 0.5
    assert module.bias is not None
    nn.init.normal_(module.bias, -bound, bound)
