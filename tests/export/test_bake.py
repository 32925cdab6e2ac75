import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame
from timm.layers.std_conv import ScaledStdConv2d
from torch import nn

from medseg.export.bake import baked


def test_baked_layers_answer_as_before_on_multiples_of_the_stride():
    torch.manual_seed(0)
    module = nn.Sequential(
        Conv2dSame(3, 8, 3, stride=2),
        nn.Sequential(ScaledStdConv2d(8, 8, 3, groups=2), AvgPool2dSame(2, 2)),
        Conv2dSame(8, 4, 5, stride=2, bias=False),
        Conv2dSame(4, 4, (3, 5), dilation=2),
    ).eval()
    batch = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = module(batch)
        after = baked(module)(batch)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    left = {type(layer) for layer in module.modules()}
    assert not left & {Conv2dSame, ScaledStdConv2d, AvgPool2dSame}
