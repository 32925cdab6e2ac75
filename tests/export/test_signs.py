"""Tensors that are never negative have no sign in int8; engines that would read them wrongly are not built."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from medseg.engines import open_engine
from medseg.errors import ExportError
from medseg.export.chain import export
from medseg.export.evening import ranges_of
from medseg.export.graph import save_graph
from medseg.export.int8 import int8_within
from medseg.export.options import ExportOptions
from medseg.export.parity import budget_for, compare, onnx_infer
from medseg.export.plan import GpuBuild, build
from medseg.export.products import multiply_adds, products
from medseg.export.quantize import int8_share
from medseg.export.search import Lowered, Lowering
from medseg.export.signs import ZERO, bounds, unsigned_tensors
from medseg.export.ways import STRENGTHS, Ways
from medseg.task import Infer
from tests.export.kinds import Made, evened_ways, made_of
from tests.export.made import Hostile, network, run_of


def test_a_range_without_a_sign_has_steps_half_as_wide() -> None:
    peaks = {"a": np.array([0.1, 10.0]), "b": np.array([0.1, 10.0])}
    found = ranges_of(peaks, 0.5, {"b": ZERO})
    assert found["a"].signed and not found["b"].signed
    assert np.allclose(found["a"].steps / found["b"].steps, 255 / 127)


class _Rectified(nn.Module):
    """Convolutions behind what is never negative, and behind what only looks like it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.behind_a_rectifier = nn.Conv2d(8, 8, 3, padding=1)
        self.behind_pooled_sums = nn.Conv2d(8, 8, 3, padding=1)
        self.behind_a_clip = nn.Conv2d(16, 8, 3, padding=1)
        self.behind_a_swish = nn.Conv2d(8, 8, 3, padding=1)
        self.behind_a_cubic_curve = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        functional = nn.functional
        early = functional.relu(self.first(x / 1000))
        middle = functional.max_pool2d(early + functional.relu(self.behind_a_rectifier(early)), 2)
        deep = functional.interpolate(self.behind_pooled_sums(middle), scale_factor=2.0, mode="bilinear")
        both = self.behind_a_clip(torch.cat([functional.relu6(deep), early], 1))
        late = self.behind_a_swish(functional.silu(both))
        curved = functional.interpolate(functional.relu(late), scale_factor=2.0, mode="bicubic")
        return functional.max_pool2d(self.behind_a_cubic_curve(curved), 2)


@pytest.fixture(scope="module")
def rectified() -> Made:
    torch.manual_seed(0)
    return made_of(network(_Rectified, (1, 32, 32)))


def test_only_what_the_graph_keeps_above_zero_has_no_sign(rectified: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = rectified.model, rectified.network, rectified.known, rectified.drawn
    found, unsigned = Ways(*asked), [True, False, False, False, True, True]
    assert len(found.signed) == len(found.unsigned) == len(STRENGTHS) and all(way.signed for way in found.signed)
    assert all([one.signed for one in way.ranges.values()] == unsigned for way in found.unsigned + found.refits)
    assert {way.origin for way in found.unsigned} == {
        way.origin.replace(", evened", ", unsigned where bounded, evened") for way in found.signed
    }
    assert not Ways(*asked, signed_only=True).unsigned
    monkeypatch.setattr("medseg.export.ways.MATTERS", 0.6)
    assert not Ways(*asked).unsigned


def test_less_is_lost_without_a_sign_and_engines_agree(rectified: Made, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    known = bounds(rectified.model)
    free = {node.name: ZERO for node in products(rectified.model) if known.get(node.input[0]) is ZERO}
    found = [*evened_ways(rectified), *evened_ways(rectified, free)]
    models = [way.lowering(rectified.known).make(()) for way in found]
    errors = [_error(rectified, onnx_infer(model)) for model in models]
    signed, unsigned = errors[: len(STRENGTHS)], errors[len(STRENGTHS) :]
    assert all(without < with_sign for with_sign, without in zip(signed, unsigned, strict=True))
    work = multiply_adds(rectified.model, rectified.known.samples[0])
    assert int8_share(models[-1], work) == {"weight_bytes": 1.0, "work": 1.0}
    onnx.save(models[-1], tmp_path / "int8.onnx")
    engine = open_engine("openvino", tmp_path / "int8.onnx")
    assert _error(rectified, engine) < 1.2 * errors[-1]
    engine.close()


@pytest.mark.parametrize(
    ("inputs", "attributes", "unsigned"),
    [
        (["values", "step"], {}, True),  # ONNX's own rule
        (["values", "step", "uint8"], {}, True),
        (["values", "step", "int8"], {}, False),
        (["values", "step"], {"output_dtype": TensorProto.UINT8}, True),
        (["values", "step"], {"output_dtype": TensorProto.INT8}, False),
        (["values", "step", ""], {"output_dtype": TensorProto.INT8}, False),
        (["values", "step", "int8"], {"output_dtype": TensorProto.INT8}, False),
    ],
)
def test_what_has_no_sign_is_told_by_its_zero_or_its_type(inputs: Any, attributes: Any, unsigned: bool) -> None:
    node = helper.make_node("QuantizeLinear", inputs, ["small"], **attributes)
    constants = {"step": np.float32(1), "uint8": np.uint8(0), "int8": np.int8(0)}
    initializers = [numpy_helper.from_array(np.array(one), name) for name, one in constants.items()]
    model = helper.make_model(helper.make_graph([node], "made", [], [], initializers))
    assert unsigned_tensors(model) == (["small"] if unsigned else [])


@pytest.mark.parametrize(
    ("told", "bounded"), [({}, True), ({"mode": "cubic"}, False), ({"extrapolation_value": -1.0}, False)]
)
def test_a_resized_tensor_may_go_below_zero(told: Any, bounded: bool) -> None:
    nodes = [helper.make_node("Relu", ["input"], ["early"]), helper.make_node("Resize", ["early"], ["late"], **told)]
    found = bounds(helper.make_model(helper.make_graph(nodes, "made", [], [])))
    assert set(found) == ({"early", "late"} if bounded else {"early"})


def _error(made: Made, infer: Infer) -> float:
    known = zip(made.known.samples, made.known.references, strict=True)
    return float(np.mean([np.abs(infer(sample) - reference).mean() for sample, reference in known]))


def test_ways_without_signs_are_searched_where_those_with_signs_keep_little(
    rectified: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def fake(share: float) -> Any:
        def all_within(lowering: Lowering, *others: Any) -> Iterator[Lowered]:
            model = lowering.make(())
            searched.append(not unsigned_tensors(model))
            held = share if searched[-1] else 1.0
            kept = {} if held == 1.0 else {lowering.names[0]: "sensitive"}
            yield Lowered(kept, compare(rectified.network, [], []), {"weight_bytes": held, "work": held}, model)

        return all_within

    monkeypatch.setattr("medseg.export.int8.miscomputed", lambda *_: {})
    found = Ways(rectified.model, rectified.network, rectified.known, rectified.drawn)
    for share, signs in ((1.0, [True]), (0.5, [True, False])):
        monkeypatch.setattr("medseg.export.int8.all_within", fake(share))
        searched.clear()
        first = next(int8_within(found, rectified.network, rectified.known, budget_for("int8")))
        assert searched == signs and first.share["weight_bytes"] == 1.0


@pytest.mark.parametrize("zero", [["zero"], []])
def test_a_graph_with_unsigned_activations_is_not_built_because_tensorrt_would_cut_them_off(tmp_path, zero):
    pytest.importorskip("tensorrt_rtx")
    run = run_of(Hostile(), tmp_path / "run")
    export(run, network(Hostile), ExportOptions(samples=1), lambda stage: None)
    model = onnx.load(run.path / "fp32.onnx")
    rectifier = next(node for node in model.graph.node if node.op_type == "Relu")
    pair = [
        helper.make_node("QuantizeLinear", ["rectified", "step", *zero], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "step", *zero], list(rectifier.output)),
    ]
    rectifier.output[:] = ["rectified"]
    place = list(model.graph.node).index(rectifier) + 1
    for node in reversed(pair):
        model.graph.node.insert(place, node)
    constants = {"step": np.float32(0.1), "zero": np.uint8(0)}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(one), name) for name, one in constants.items())
    save_graph(run, network(Hostile), model, "int8.onnx", {"precision": "int8"})
    with pytest.raises(ExportError, match="1 unsigned 8-bit tensors, such as 'small', as signed ones"):
        build(run, network(Hostile), "int8", GpuBuild(gpu="sm89"))
    assert not any(name.endswith(".rtx") for name in run.files)
