"""UNet++ and UNet3+: U-Nets whose decoder nodes take features from more than one level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

LEVELS = 5


def unetpp(features: int = 32) -> nn.Module:
    """UNet++ (Zhou et al., 2018) without deep supervision: (n, 3, h, w) float32 -> (n, 1, h, w) logits.

    h and w are multiples of 16.
    """
    return _UnetPlusPlus(features)


def unet3p(features: int = 32) -> nn.Module:
    """UNet3+ (Huang et al., 2020) without deep supervision: (n, 3, h, w) float32 -> (n, 1, h, w) logits.

    h and w are multiples of 16. Every decoder node joins all five levels at full width, which takes several times a
    U-Net's memory. So in training the nodes' inner values are not stored but computed again in the backward pass.
    """
    return _Unet3Plus(features)


class _UnetPlusPlus(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(LEVELS)]
        self.nodes = nn.ModuleDict()
        for column in range(LEVELS):
            for row in range(LEVELS - column):
                inputs = widths[row] * column + widths[row + 1] if column else ([3, *widths])[row]
                self.nodes[f"{row}_{column}"] = _block(inputs, widths[row])
        self.head = nn.Conv2d(features, 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows: list[list[torch.Tensor]] = []
        for row in range(LEVELS):
            x = self.nodes[f"{row}_0"](F.max_pool2d(x, 2) if row else x)
            rows.append([x])
        for column in range(1, LEVELS):
            for row in range(LEVELS - column):
                below = F.interpolate(rows[row + 1][column - 1], scale_factor=2, mode="bilinear")
                rows[row].append(self.nodes[f"{row}_{column}"](torch.cat([*rows[row], below], 1)))
        return self.head(rows[0][-1])


class _Unet3Plus(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(LEVELS)]
        self.encoder = nn.ModuleList(_block(a, b) for a, b in zip([3, *widths[:-1]], widths, strict=True))
        joined = features * LEVELS
        self.decoder = nn.ModuleList(
            _Join([widths[i] if i <= row or i == LEVELS - 1 else joined for i in range(LEVELS)], row, features)
            for row in range(LEVELS - 1)
        )
        self.head = nn.Conv2d(joined, 1, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels: list[torch.Tensor] = []
        for row, block in enumerate(self.encoder):
            x = self._kept_small(block, F.max_pool2d(x, 2) if row else x)
            levels.append(x)
        for row in range(LEVELS - 2, -1, -1):
            levels[row] = self._kept_small(self.decoder[row], *levels)
        return self.head(levels[0])

    def _kept_small(self, part: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        """The part's output. In training only the part's inputs are stored for the backward pass."""
        if not self.training:
            return part(*inputs)
        contexts = partial(_contexts, part)
        return checkpoint(part, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts in which a part runs in the forward pass, and when it is computed again."""
    return nullcontext(), _statistics_kept(part)


@contextmanager
def _statistics_kept(part: nn.Module) -> Iterator[None]:
    """Keep the running statistics of the part's batch norms: they already include the batch that is computed again."""
    norms = [norm for norm in part.modules() if isinstance(norm, _BatchNorm)]
    known = [
        (norm, norm.momentum, batches, batches.clone())
        for norm in norms
        if (batches := norm.num_batches_tracked) is not None
    ]
    for norm, *_ in known:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches, before in known:
            norm.momentum = momentum
            batches.copy_(before)


class _Join(nn.Module):
    """One decoder node: every level is resized to the node's size, reduced to `features` channels, and joined."""

    def __init__(self, widths: list[int], row: int, features: int) -> None:
        super().__init__()
        self.row = row
        self.branches = nn.ModuleList(_layer(width, features) for width in widths)
        self.join = _layer(features * LEVELS, features * LEVELS)

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        sized = [branch(self._sized(x, i)) for i, (branch, x) in enumerate(zip(self.branches, levels, strict=True))]
        return self.join(torch.cat(sized, 1))

    def _sized(self, x: torch.Tensor, level: int) -> torch.Tensor:
        if level < self.row:
            return F.max_pool2d(x, 2 ** (self.row - level))
        return F.interpolate(x, scale_factor=2 ** (level - self.row), mode="bilinear") if level > self.row else x


def _layer(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def _block(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(_layer(inputs, width), _layer(width, width))
