"""Batch norms over the batches of all processes, also on CPUs, where torch's own SyncBatchNorm does not work."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def share_batch_norms(module: nn.Module) -> None:
    """Let every batch norm that learns take its means over all processes: as one process with all their samples."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.forward = partial(_normalised, part)  # type: ignore[method-assign]


def _normalised(norm: _BatchNorm, values: torch.Tensor) -> torch.Tensor:
    """A batch (n, channels, ...) normalised by the means of all processes' batches; by the fit's own in evaluation."""
    if not norm.training:
        known = norm.running_mean, norm.running_var
        return F.batch_norm(values, *known, norm.weight, norm.bias, training=known[0] is None, eps=norm.eps)
    shape = (1, -1, *[1] * (values.ndim - 2))
    count = _Sum.apply(torch.tensor(float(values.numel() // values.shape[1])))
    mean = _mean(values, count)
    variance = _mean((values - mean.view(shape)).square(), count)
    _keep(norm, mean.detach(), variance.detach() * count / (count - 1))
    scale = torch.rsqrt(variance + norm.eps)
    shift = -mean * scale
    if norm.affine:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    return values * scale.view(shape) + shift.view(shape)


def _mean(values: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Of each channel, over all processes."""
    return _Sum.apply(values.sum([0, *range(2, values.ndim)])) / count


class _Sum(torch.autograd.Function):
    """A tensor's sum over all processes. Each process's loss depends on it, so gradients are summed too."""

    @staticmethod
    def forward(_: Any, part: torch.Tensor) -> torch.Tensor:
        return _summed(part)

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _summed(gradient)


def _summed(part: torch.Tensor) -> torch.Tensor:
    whole = part.clone()
    distributed.all_reduce(whole)
    return whole


def _keep(norm: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Move the norm's own means, which evaluation takes, towards these."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)
