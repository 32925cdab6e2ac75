"""What lies on one side of a bound is counted from there in 8 bits, and the convolution makes up for it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from medseg.engines import open_engine
from medseg.export.evening import channel_peaks, equalized, ranges_of
from medseg.export.parity import onnx_infer
from medseg.export.signs import bounds
from medseg.export.ways import STRENGTHS, Ways
from medseg.task import Infer
from tests.export.kinds import Made, evened_ways, made_of
from tests.export.made import network

CHANNELS = np.array([2.0, -3.0], np.float32).reshape(1, 2, 1, 1)
PER_CHANNEL = np.array([2.0, -3.0], np.float32)
NORM = {"scale": PER_CHANNEL, "shift": PER_CHANNEL, "mean": np.ones(2, np.float32), "variance": np.ones(2, np.float32)}

GATED = [("Sigmoid", ["other"], {}), ("Mul", ["1", "2"], {})]


@pytest.mark.parametrize(
    ("nodes", "base", "side"),
    [
        ([("Relu", ["input"], {})], [0], [1]),
        ([("Relu", ["input"], {}), ("Mul", ["0", "channels"], {})], [0, 0], [1, -1]),
        ([("Relu", ["input"], {}), ("Add", ["0", "channels"], {})], [2, -3], [1, 1]),
        ([("Relu", ["input"], {}), ("Sub", ["0", "channels"], {})], [-2, 3], [1, 1]),
        ([("Relu", ["input"], {}), ("Div", ["0", "channels"], {}), ("Add", ["1", "one"], {})], [1, 1], [1, -1]),
        ([("Relu", ["input"], {}), ("BatchNormalization", ["0", *NORM], {"epsilon": 0.0})], [0, 0], [1, -1]),
        ([("Relu", ["input"], {}), ("Add", ["0", "channels"], {}), ("AveragePool", ["1"], {})], [2, -3], [1, 1]),
        ([("Sigmoid", ["input"], {}), ("Mul", ["input", "0"], {})], [-0.2785], [1]),
        ([("Sigmoid", ["input"], {}), ("Mul", ["0", "input"], {})], [-0.2785], [1]),
        ([("HardSigmoid", ["input"], {"alpha": 1 / 6}), ("Mul", ["0", "input"], {})], [-0.375], [1]),
        ([("Gelu", ["input"], {}), ("Sigmoid", ["other"], {}), ("Mul", ["0", "1"], {})], [-0.17], [1]),
        (
            [("Relu", ["input"], {}), ("Add", ["0", "one"], {}), ("Sigmoid", ["other"], {}), ("Mul", ["1", "2"], {})],
            0,
            1,
        ),
        ([("Elu", ["input"], {"alpha": 2.0})], [-2], [1]),
        ([("Elu", ["input"], {"alpha": -2.0})], [0], [1]),
        ([("LeakyRelu", ["input"], {})], None, None),
        ([("Elu", ["input"], {}), ("Div", ["0", "zero"], {})], None, None),
        ([("Relu", ["input"], {}), ("Add", ["0", "other"], {})], None, None),
        ([("Elu", ["input"], {}), ("AveragePool", ["0"], {"pads": [1, 1, 1, 1]})], None, None),
        ([("Elu", ["input"], {}), ("Transpose", ["0"], {})], None, None),
        ([("Elu", ["input"], {}), ("Sigmoid", ["other"], {}), ("Add", ["0", "1"], {})], None, None),
    ],
)
def test_a_bound_is_what_the_graph_guarantees(nodes: Any, base: Any, side: Any) -> None:
    made = [helper.make_node(kind, names, [str(at)], **told) for at, (kind, names, told) in enumerate(nodes)]
    constants = {"channels": CHANNELS, "one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32)} | NORM
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    found = bounds(helper.make_model(helper.make_graph(made, "made", [], [], initializers))).get(made[-1].output[0])
    if base is None:
        assert found is None
    else:
        assert found is not None and np.allclose(found.base, base, atol=1e-3) and (found.side == side).all()


SMOOTH = [
    (nn.SiLU(), -0.2785),
    (nn.Hardswish(), -0.375),
    (nn.GELU(), -0.1701),
    (nn.GELU("tanh"), -0.1701),
    (nn.Mish(), -0.309),
]


@pytest.mark.parametrize(("rectifier", "least"), SMOOTH)
def test_smooth_rectifiers_stay_above_their_bound(rectifier: nn.Module, least: float) -> None:
    found = float(rectifier(torch.linspace(-10, 10, 100_001, dtype=torch.float64)).min())
    assert least <= found < least + 1e-3


class _Normed(nn.Module):
    """Norms behind rectifiers, some of whose channels are turned around; one convolution pads, one does not."""

    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(16))
        self.second = nn.Sequential(nn.Conv2d(16, 16, 3, padding=padding), nn.SiLU())
        self.third = nn.Conv2d(16, 16, 1, bias=False)
        self.last = nn.Conv2d(16, 1, 1)
        for turn in (self.first[2].weight, self.first[2].bias):
            nn.init.normal_(turn, std=2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.last(self.third(self.second(self.first(x / 1000))).relu())
        return nn.functional.pad(found, [(x.shape[-1] - found.shape[-1]) // 2] * 4)


@pytest.fixture(scope="module")
def normed() -> Made:
    return made_of(network(_Normed, (1, 32, 32)))


def _conv_bounds(made: Made) -> dict[str, Any]:
    known = bounds(made.model)
    convolutions = [node for node in made.model.graph.node if node.op_type == "Conv"]
    return {node.name: known[node.input[0]] for node in convolutions if node.input[0] in known}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_convolution_makes_up_for_the_base_that_is_taken_off(normed: Made, strength: float) -> None:
    known = _conv_bounds(normed)
    assert [len(one.base) for one in known.values()] == [16, 1, 1]
    assert {*next(iter(known.values())).side} == {-1, 1}
    ranges = ranges_of(channel_peaks(normed.model, normed.known.samples, known), strength, known)
    even = onnx_infer(equalized(normed.model, ranges))
    for sample, reference in zip(normed.known.samples, normed.known.references, strict=True):
        assert np.allclose(even(sample), reference, rtol=1e-4, atol=1e-4)


def test_what_is_counted_from_its_base_loses_less_and_engines_agree(normed: Made, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    found = [*evened_ways(normed), *evened_ways(normed, _conv_bounds(normed))]
    models = [way.lowering(normed.known).make(()) for way in found]
    errors = [_error(normed, onnx_infer(model)) for model in models]
    signed, unsigned = errors[: len(STRENGTHS)], errors[len(STRENGTHS) :]
    assert all(without < 0.8 * with_sign for with_sign, without in zip(signed, unsigned, strict=True))
    onnx.save(models[-1], tmp_path / "int8.onnx")
    engine = open_engine("openvino", tmp_path / "int8.onnx")
    assert _error(normed, engine) < 1.2 * errors[-1]
    engine.close()


def _error(made: Made, infer: Infer) -> float:
    known = zip(made.known.samples, made.known.references, strict=True)
    return float(np.mean([np.abs(infer(sample) - reference).mean() for sample, reference in known]))


def test_padding_that_would_show_keeps_its_sign() -> None:
    """Zeros around a picture would become the base of each channel."""
    padded = made_of(network(lambda: _Normed(padding=1), (1, 32, 32)))
    unpadded = made_of(network(_Normed, (1, 32, 32)))
    for made, signs in ((padded, [True, True, False, False]), (unpadded, [True, False, False, False])):
        first, *_ = Ways(made.model, made.network, made.known, made.drawn).unsigned
        assert [one.signed for one in first.ranges.values()] == signs


def test_what_goes_back_to_float32_reads_zeros_as_padding_again() -> None:
    made = made_of(network(lambda: _Normed(padding=1), (1, 32, 32)))
    lowering = evened_ways(made, _conv_bounds(made))[0].lowering(made.known)
    full = lowering.make(lowering.names)
    assert {node.op_type for node in full.graph.node} == {node.op_type for node in made.model.graph.node}
    pair = onnx_infer(full), onnx_infer(made.model)
    assert all(np.array_equal(*(infer(sample) for infer in pair)) for sample in made.known.samples)
