"""Q/DQ pairs before Concats: the same answers, and what is joined is int8."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from medseg.engines import open_engine
from medseg.export.evening import Range, channel_peaks, equalized
from medseg.export.parity import onnx_infer
from medseg.export.placement import placed
from medseg.export.products import products
from medseg.export.quantize import quantized
from medseg.export.signs import bounds
from medseg.export.ways import Way
from tests.export.kinds import KINDS, Made, evened_ways, made_of
from tests.export.made import network


class Joining(nn.Module):
    """Convolutions whose answers are joined, changed by `change`, before another convolution reads them."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor], axes: int, dim: int, nested: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        self.change, self.dim, self.nested = change, dim, nested
        self.one, self.other = (convolution(1, 8, 3, padding=1) for _ in range(2))
        width = 8 if dim == 2 else 24 if nested else 16
        self.deep = convolution(width, 8, 3, padding=1)
        self.last = convolution(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = self.change(self.one(x / 1000)), self.change(self.other(x / 1000))
        joined = torch.cat([one, other], self.dim)
        if self.nested:
            joined = torch.cat([joined, one], self.dim)
        return self.last(self.deep(joined)[:, :, : x.shape[2]])


NOTHING = nn.Identity()


def _joining(
    change: Callable[[torch.Tensor], torch.Tensor] = NOTHING, axes: int = 2, dim: int = 1, nested: bool = False
) -> Made:
    shape = (1, *[16] * axes)
    return made_of(replace(network(lambda: Joining(change, axes, dim, nested), shape), free_axes={}))


WAYS = {
    "planes": lambda: made_of(KINDS["planes"]),
    "two with signs": _joining,
    "two without": lambda: _joining(nn.ReLU()),
    "above another bound than zero": lambda: _joining(nn.SiLU()),
    "counted from the end": lambda: _joining(dim=-3),
    "a Concat that reads another": lambda: _joining(nested=True),
    "volumes": lambda: _joining(nn.ReLU(), axes=3),
}


def _ranges(made: Made) -> dict[str, Range]:
    """Ranges without a sign for what has a bound."""
    known = bounds(made.model)
    found = {node.name: known[node.input[0]] for node in products(made.model) if node.input[0] in known}
    assert channel_peaks(made.model, made.known.samples).keys() >= found.keys()
    return dict(evened_ways(made, found)[0].ranges)


@pytest.mark.parametrize("kind", WAYS)
def test_answers_are_the_same_bit_by_bit_and_parts_are_rounded_before_they_are_joined(kind: str) -> None:
    made = WAYS[kind]()
    ranges, sample = _ranges(made), made.known.samples[0]
    before = quantized(equalized(made.model, ranges), ranges)
    after = placed(before, sample)
    onnx.checker.check_model(after, full_check=True)
    for one in made.known.samples[:3]:
        np.testing.assert_array_equal(onnx_infer(after)(one), onnx_infer(before)(one))
    assert _joined_after_rounding(before) == 0 < _joined_after_rounding(after)


def _joined_after_rounding(model: onnx.ModelProto) -> int:
    """How many products read a Concat of nothing but rounded parts."""
    maker = {name: node for node in model.graph.node for name in node.output}

    def is_rounded(name: str) -> bool:
        node = maker.get(name)
        joined = node is not None and node.op_type == "Concat" and all(map(is_rounded, node.input))
        return joined or (node is not None and node.op_type == "DequantizeLinear")

    read = [maker.get(node.input[0]) for node in _convolutions(model)]
    return sum(node is not None and node.op_type == "Concat" and is_rounded(node.output[0]) for node in read)


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]


def test_what_is_joined_along_another_axis_is_rounded_afterwards() -> None:
    made = _joining(dim=2)
    way = evened_ways(made)[0]
    before = quantized(equalized(made.model, way.ranges), way.ranges)
    assert placed(before, made.known.samples[0]) == before


@pytest.mark.parametrize("kind", ["planes", "two with signs", "a Concat that reads another"])
def test_a_product_in_float32_reads_the_concat_as_it_was(kind: str) -> None:
    made = WAYS[kind]()
    lowering = evened_ways(made)[0].lowering(made.known)
    sample = made.known.samples[0]
    np.testing.assert_array_equal(
        onnx_infer(lowering.make(lowering.names))(sample), onnx_infer(made.model)(sample), err_msg="all in float32"
    )
    for name in lowering.names:
        model = lowering.make([name])
        original = next(node for node in made.model.graph.node if node.name == name)
        assert [node.input for node in model.graph.node if node.name == name] == [original.input]
        onnx_infer(model)(sample)


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("without_signs", [False, True])
def test_openvino_answers_as_onnx_says(kind: str, without_signs: bool, tmp_path: Path) -> None:
    """Its answers were wrong where signed values with a step other than 1 are joined."""
    pytest.importorskip("openvino")
    made = WAYS[kind]()
    ranges = _ranges(made) if without_signs else evened_ways(made)[0].ranges
    model = Way(made.model, ranges, "made").lowering(made.known).make(())
    onnx.save(model, tmp_path / "int8.onnx")
    engine, infer = open_engine("openvino", tmp_path / "int8.onnx"), onnx_infer(model)
    for sample in made.known.samples[:3]:
        expected = infer(sample)
        assert np.abs(engine(sample) - expected).mean() < 0.02 * expected.std()
    engine.close()
