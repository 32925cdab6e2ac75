import io
from dataclasses import replace

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame
from timm.layers.std_conv import ScaledStdConv2d
from torch import nn

from medseg.export.bake import baked
from medseg.export.graph import trace
from medseg.models.deeplab import deeplab
from medseg.tasks import network_named


def test_baked_layers_answer_as_before_on_multiples_of_the_stride():
    torch.manual_seed(0)
    module = nn.Sequential(
        Conv2dSame(3, 8, 3, stride=2),
        nn.Sequential(ScaledStdConv2d(8, 8, 3, groups=2), AvgPool2dSame(2, 2), AvgPool2dSame(2, 1)),
        nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
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
    assert not any(layer.ceil_mode for layer in module.modules() if isinstance(layer, nn.AvgPool2d))


def test_a_pool_that_may_round_up_is_left_as_it_is():
    (pool,) = baked(nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True)))
    assert pool.ceil_mode


def test_a_baked_nfnet_is_a_program_that_can_be_saved_with_free_sizes():
    """What is computed from a size, such as a ceiling, cannot be written to a file."""
    network = replace(network_named("stas-eca-nfnet-l2"), build=lambda: deeplab("tu-eca_nfnet_l0"))
    program = trace(baked(network.build()).eval(), network)
    content = io.BytesIO()
    torch.export.save(program, content)
    answer = torch.export.load(io.BytesIO(content.getvalue())).module()(torch.zeros(1, 3, 64, 96))
    assert answer.shape == (1, 1, 64, 96)
