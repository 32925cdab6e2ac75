"""Weights refitted to int8's rounding: nearer to float32 on samples that they have not seen, for every convolution."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage
from torch import nn

from medseg.engines import open_engine
from medseg.export.evening import equalized
from medseg.export.int8 import int8_within
from medseg.export.parity import Budget, budget_for, onnx_infer
from medseg.export.refit import ENOUGH, refitted, studied
from medseg.export.rounding import Moments, steps_for
from medseg.export.samples import Calibration, Drawn
from medseg.export.search import Lowered, Lowering, tried
from medseg.export.signs import ZERO
from medseg.export.ways import STRENGTHS, Turn, Way, Ways
from medseg.task import Array
from tests.export.kinds import KINDS, Made, evened_ways, made_of
from tests.export.made import network


def _smooth(shape: tuple[int, ...], n: int, seed: int) -> list[Array]:
    """Inputs (1, *shape) whose neighbours and channels are alike, and whose mean is not zero, as behind a rectifier."""
    draw = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(draw.normal(0, 30, shape), (1, *[2] * (len(shape) - 1))) for _ in range(n)]
    return [np.maximum(field + 1, -0.3)[None].astype(np.float32) for field in fields]


CONVOLUTIONS = {
    "dense": lambda: nn.Conv2d(12, 8, 3, padding=1),
    "of one pixel": lambda: nn.Conv2d(12, 8, 1, bias=False),
    "strided": lambda: nn.Conv2d(12, 8, (3, 5), stride=(2, 1), padding=(0, 2)),
    "dilated": lambda: nn.Conv2d(12, 8, 3, padding=4, dilation=4),
    "grouped": lambda: nn.Conv2d(12, 8, 3, groups=4, padding=1),
    "depthwise": lambda: nn.Conv2d(12, 12, 5, groups=12, padding=2, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(12, 8, 2, stride=2),
    "solid": lambda: nn.Conv3d(6, 8, 3, padding=1, bias=False),
    "solid and transposed": lambda: nn.ConvTranspose3d(6, 8, (1, 2, 2), stride=(1, 2, 2), bias=False),
}


def _made(convolution: Any, sides: tuple[int, ...] = ()) -> Made:
    """A network of one convolution, with samples."""
    solid = isinstance(convolution, nn.Conv3d | nn.ConvTranspose3d)
    shape = (convolution.in_channels, *(sides or ((8, 16, 16) if solid else (32, 32))))
    made = replace(network(lambda: convolution, shape), free_axes={})
    return replace(made_of(made), known=Calibration(_smooth(shape, 4, 0), [], "made"))


def _error(made: Made, way: Way, samples: list[Array]) -> tuple[float, float]:
    """The mean square error, and the largest mean error of a channel, both relative to the answers' spread."""
    exact, low = onnx_infer(made.model), onnx_infer(way.lowering(made.known).make(()))
    lost = np.concatenate([low(sample) - exact(sample) for sample in samples])
    spread = float(np.concatenate([exact(sample) for sample in samples]).std())
    means = lost.mean(axis=tuple(axis for axis in range(lost.ndim) if axis != 1))
    return float((lost**2).mean()) / spread**2, float(np.abs(means).max()) / spread


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("unsigned", [False, True])
def test_a_refit_is_nearer_to_float32_on_new_samples(kind: str, unsigned: bool) -> None:
    torch.manual_seed(0)
    made = _made(CONVOLUTIONS[kind]())
    if unsigned:
        made = replace(made, known=Calibration([one + np.float32(0.3) for one in made.known.samples], [], "made"))
    new = [one + np.float32(0.3 * unsigned) for one in _smooth(made.network.input_shape, 2, 1)]
    bounds = {node.name: ZERO for node in made.model.graph.node} if unsigned else {}
    for way in evened_ways(made, bounds):
        plain, drift = _error(made, way, new)
        error, left = _error(made, replace(way, samples=made.known.samples), new)
        assert error < plain and left < max(drift, 2e-3), way.origin


@pytest.mark.parametrize("kind", ["overlapping", "grouped", "padded by its kind"])
def test_what_is_no_matrix_stays_as_it_is(kind: str) -> None:
    sides = 3 if kind == "overlapping" else 2
    made = _made(nn.ConvTranspose2d(12, 8, sides, stride=2, groups=4 if kind == "grouped" else 1))
    if kind == "padded by its kind":
        (node,) = made.model.graph.node
        kept = [one for one in node.attribute if one.name not in ("pads", "auto_pad")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("auto_pad", "SAME_UPPER")])
    for way in evened_ways(made):
        plain, own = (one.lowering(made.known).make(()) for one in (way, replace(way, samples=made.known.samples)))
        assert plain == own


def test_from_few_places_only_the_bias_is_fitted() -> None:
    torch.manual_seed(0)
    for side, fitted in ((ENOUGH * 12 * 9 // 16, True), (ENOUGH * 12 * 9 // 16 - 1, False)):
        made = _made(nn.Conv2d(12, 8, 3, padding=1), (4, side))
        assert len(made.known.samples) * 4 == 16
        way = evened_ways(made)[0]
        (refit,) = refitted(equalized(made.model, way.ranges), way.ranges, made.known.samples).values()
        plain = onnx_weights(way.lowering(made.known).make(()))
        assert bool((refit.weights != plain).any()) == fitted and np.abs(refit.bias).max() > 0


def test_each_part_of_a_refit_can_be_left_out() -> None:
    """Without the fit and without errors that cancel, weights are rounded to the nearest."""
    torch.manual_seed(0)
    made = _made(nn.Conv2d(12, 8, 3, padding=1))
    way = evened_ways(made)[0]
    (one,) = studied(equalized(made.model, way.ranges), way.ranges, made.known.samples)
    parts = list(product((False, True), repeat=2))
    found = [one.refit(fit, cancel).weights for fit, cancel in parts]
    assert np.array_equal(found[0], onnx_weights(way.lowering(made.known).make(())))
    assert len({weights.tobytes() for weights in found}) == len(parts)
    assert np.array_equal(found[-1], one.refit().weights)


def onnx_weights(model: onnx.ModelProto) -> Array:
    """The int8 weights of its only product."""
    (found,) = [one for one in model.graph.initializer if one.data_type == TensorProto.INT8 and len(one.dims) > 1]
    return numpy_helper.to_array(found)


def test_errors_of_a_row_cancel() -> None:
    """This rounding is much better than that to the nearest, and no worse where inputs have nothing in common."""
    torch.manual_seed(0)
    places = torch.randn(8, 4096, 3) @ torch.randn(8, 3, 12) + 0.1 * torch.randn(8, 4096, 12)
    weights = torch.randn(8, 5, 12, dtype=torch.float64)
    steps = steps_for(weights, (-1,)) * 16  # as of few bits, so that rounding matters
    nearest = (weights / steps).round()
    for inputs, most in ((places, 0.3), (torch.randn_like(places), 1.05)):
        moments = Moments(8, 12, with_products=True)
        for part in inputs.split(1000, dim=1):
            moments.add(part, part)
        lost = [
            float((((found * steps - weights) @ inputs.double().mT) ** 2).mean())
            for found in (moments.levels(weights, steps), nearest)
        ]
        assert lost[0] < most * lost[1]


def test_moments_do_not_depend_on_where_zero_is() -> None:
    torch.manual_seed(0)
    places, weights = torch.randn(1, 2048, 6), torch.randn(1, 3, 6, dtype=torch.float64)
    found = []
    for offset in (0.0, 512.0):
        moments = Moments(1, 6, with_products=True)
        for part in (places + offset).split(500, dim=1):
            moments.add(part, (part * 4).round() / 4)
        found.append(moments.fitted(weights))
    assert torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "solid"])
def test_openvino_answers_as_onnx_says(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = made_of(KINDS[kind])
    for way in evened_ways(made):
        way = replace(way, samples=made.known.samples)
        found = next(int8_within([Turn([way])], made.network, made.known, Budget(0.0, 1.0)))
        onnx.save(found.model, tmp_path / "int8.onnx")
        engine, infer = open_engine("openvino", tmp_path / "int8.onnx"), onnx_infer(found.model)
        for sample in made.known.samples[:2]:
            assert np.abs(engine(sample) - infer(sample)).mean() < 0.02 * infer(sample).std()
        engine.close()


def _deep(layers: int) -> Made:
    """A network whose int8 loses more with each layer."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(24 if index else 4, 24, 3, padding=1) for index in range(layers)]
    made = made_of(network(lambda: nn.Sequential(*convolutions, nn.Conv2d(24, 1, 1)), (4, 64, 64)))
    samples, infer = _smooth((4, 64, 64), 2, 0), onnx_infer(made.model)
    return replace(made, known=Calibration(samples, list(map(infer, samples)), "made"))


def test_a_network_is_refitted_if_no_other_file_has_seven_tenths_of_its_weights_and_work_in_int8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, searched = _deep(6), list[bool]()
    found = Ways(made.model, made.network, made.known, Drawn(_smooth((4, 64, 64), 4, 9), [], "others"))
    assert len(found.signed) == len(found.refits) == len(STRENGTHS) and not found.unsigned

    def best(ways: list[Way]) -> float:
        return max(tried(way.lowering(made.known), made.network, made.known, {}).parity.dice for way in ways)

    assert best(found.refits) > best(found.signed) + 0.001

    def fake(share: float, float32: int) -> Any:
        def all_within(lowering: Lowering, *_: Any) -> Iterator[Lowered]:
            searched.append(any(one.name.endswith("_refit") for one in lowering.make(()).graph.initializer))
            kept = {} if searched[-1] else dict.fromkeys(lowering.names[:float32], "sensitive")
            one = tried(lowering, made.network, made.known, kept)
            held = {**one.share, "weight_bytes": 0.6 if searched[-1] else share}
            yield Lowered(kept, one.parity, held, lowering.make(kept))

        return all_within

    monkeypatch.setattr("medseg.export.int8.miscomputed", lambda *_: {})
    for share, float32, refits in ((0.8, 1, 0), (0.6, 1, 3), (0.8, 5, 3)):
        monkeypatch.setattr("medseg.export.int8.all_within", fake(share, float32))
        searched.clear()
        first = next(int8_within(found, made.network, made.known, budget_for("int8")))
        assert searched == [False] * 3 + [True] * refits
        assert first.facts["ranges"].endswith("refitted") == bool(refits)


def test_no_node_has_the_name_of_a_constant() -> None:
    """TensorRT's parser names layers after both, and refuses a name that is taken."""
    made = made_of(KINDS["planes"])
    model = replace(evened_ways(made)[0], samples=made.known.samples).lowering(made.known).make(())
    names = [one.name for one in (*model.graph.node, *model.graph.initializer)]
    assert any(name.endswith("_refit") for name in names) and len(set(names)) == len(names)
