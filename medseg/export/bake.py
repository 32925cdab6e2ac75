"""Baking: values that a network computes at every call, although they never change, become constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.utils import _pair


def baked(module: nn.Module) -> nn.Module:
    """The module, in place, with timm's standardised weights precomputed and its "same" padding as constants.

    If the standardisation stays in, eca_nfnet_l2 has 6,046 TensorRT layers instead of 1,661. Padding that is computed
    from a free size takes minutes to export. Our sizes are multiples of the stride, and for these it is a constant.
    """
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.pool2d_same import AvgPool2dSame
    from timm.layers.std_conv import ScaledStdConv2d

    for name, child in module.named_children():
        if type(child) is ScaledStdConv2d:
            setattr(module, name, _plain(child, _standardised(child)))
        elif type(child) is Conv2dSame:
            setattr(module, name, nn.Sequential(_padding(child), _plain(child, child.weight)))
        elif type(child) is AvgPool2dSame:
            setattr(module, name, nn.Sequential(_padding(child), nn.AvgPool2d(child.kernel_size, child.stride)))
        elif type(child) is nn.AvgPool2d and child.ceil_mode and _whole(child):
            child.ceil_mode = False
        else:
            baked(child)
    return module


def _standardised(conv: Any) -> torch.Tensor:
    variance, mean = torch.var_mean(conv.weight, dim=(1, 2, 3), keepdim=True, correction=0)
    return (conv.weight - mean) / torch.sqrt(variance + conv.eps) * conv.gain * conv.scale


def _plain(conv: Any, weight: torch.Tensor) -> nn.Conv2d:
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
    )
    plain.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    plain.bias = conv.bias
    return plain


def _whole(pool: nn.AvgPool2d) -> bool:
    """Whether windows cover every size that is a multiple of the stride exactly; then `ceil_mode` changes nothing."""
    kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
    return _pair(pool.padding) == (0, 0) and all(wide % step == 0 for wide, step in zip(kernel, stride, strict=True))


def _padding(layer: Any) -> nn.ZeroPad2d:
    """TensorFlow's "same" padding for sizes that are multiples of the stride: the odd pixel goes right and below."""
    kernel, stride, dilation = _pair(layer.kernel_size), _pair(layer.stride), _pair(getattr(layer, "dilation", 1))
    high, wide = (max((kernel[axis] - 1) * dilation[axis] + 1 - stride[axis], 0) for axis in (0, 1))
    layer.padding = (0, 0)
    return nn.ZeroPad2d((wide // 2, wide - wide // 2, high // 2, high - high // 2))
