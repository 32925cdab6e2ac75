import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from medseg.engines import ENGINES, Kind, open_engine
from medseg.errors import ExportError
from medseg.export.evening import channel_peaks, equalized, ranges_of
from medseg.export.fusions import judge_by_engines
from medseg.export.graph import save_graph
from medseg.export.int8 import int8_within
from medseg.export.parity import Budget, onnx_infer
from medseg.export.plan import GpuBuild, build
from medseg.export.products import multiply_adds
from medseg.export.quantize import int8_share, quantized
from medseg.export.samples import Calibration, Drawn
from medseg.export.ways import Ways
from medseg.run import Run
from medseg.task import Network, Recipe
from tests.export.kinds import made_of
from tests.export.made import network

INPUTS, OUTPUTS, SIZE = 4, 8, 16
NETWORK = Network(
    "made",
    (INPUTS, SIZE, SIZE),
    (OUTPUTS, SIZE, SIZE),
    tuple("abcdefgh"),
    Recipe(epochs=1, batch_size=1, lr=1.0),
    build=None,
)
KINDS = {
    "dense": ("Conv", 1),
    "grouped": ("Conv", 2),
    "depthwise": ("Conv", INPUTS),
    "transposed": ("ConvTranspose", 1),
    "transposed, grouped": ("ConvTranspose", 2),
}


@pytest.fixture(params=KINDS)
def model(request):
    """One convolution of random weights, as the exporter writes it: (n, 4, 16, 16) -> (n, 8, 16, 16)."""
    kind, groups = KINDS[request.param]
    shape = (OUTPUTS, INPUTS // groups, 3, 3) if kind == "Conv" else (INPUTS, OUTPUTS // groups, 3, 3)
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    bias = np.linspace(-0.5, 0.5, OUTPUTS).astype(np.float32)
    names = ["input", "weights", "bias"]
    node = helper.make_node(kind, names, ["output"], name=f"{kind}_0", group=groups, pads=[1] * 4, kernel_shape=[3, 3])
    boundary = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, SIZE, SIZE])
        for name, channels in (("input", INPUTS), ("output", OUTPUTS))
    ]
    constants = [numpy_helper.from_array(values, name) for values, name in ((weights, "weights"), (bias, "bias"))]
    graph = helper.make_graph([node], "made", boundary[:1], boundary[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def known(model):
    """Samples whose channels differ in range by a thousand, and the model's answers to them."""
    rng = np.random.default_rng(1)
    ranges = np.array([0.03, 1.0, 5.0, 30.0]).reshape(1, INPUTS, 1, 1)
    samples = [(ranges * rng.standard_normal((1, INPUTS, SIZE, SIZE))).astype(np.float32) for _ in range(8)]
    return Calibration(samples, [onnx_infer(model)(sample) for sample in samples], "made")


def _half(known):
    return Drawn(known.samples[::2], [], "half of them")


def _int8(model, known):
    """The model with all channels evened and everything in int8."""
    ranges = ranges_of(channel_peaks(model, known.samples), 1.0)
    return quantized(equalized(model, ranges), ranges)


def test_equalizing_leaves_the_answers_and_evens_the_channels(model, known):
    even = equalized(model, ranges_of(channel_peaks(model, known.samples), 1.0))
    onnx.checker.check_model(even, full_check=True)
    for sample, reference in zip(known.samples, known.references, strict=True):
        np.testing.assert_allclose(onnx_infer(even)(sample), reference, rtol=1e-4, atol=1e-4)
    name = even.graph.node[0].output[0]  # what the convolution is fed
    even.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    fed = [onnx_infer(even, [name])(sample) for sample in known.samples]
    peaks = np.abs(np.concatenate(fed)).max(axis=(0, 2, 3))
    assert peaks.max() < 1.01 * peaks.min()


def test_int8_holds_its_budget(model, known):
    found = next(
        int8_within(Ways(model, NETWORK, known, _half(known)), NETWORK, known, Budget(0.95, 0.1))
    )  # of each class
    assert found.parity.dice >= 0.97 and found.share["weight_bytes"] > 0.9 and not found.kept


def test_int8_that_cannot_hold_its_budget_is_refused(model, known):
    with pytest.raises(ExportError, match="int8 of made is not recorded: its masks have Dice"):
        next(int8_within(Ways(model, NETWORK, known, _half(known)), NETWORK, known, Budget(1.0, 0.0)))


def test_openvino_opens_and_tensorrt_rtx_builds_what_was_quantized(model, known, tmp_path):
    int8 = _int8(model, known)
    share = int8_share(int8, multiply_adds(model, known.samples[0]))
    assert share["weight_bytes"] > 0.9 and share["work"] == 1.0
    run = Run.create(tmp_path / "run", "made", {}, {"kind": "test"})
    save_graph(run, NETWORK, int8, "int8.onnx", {"precision": "int8"})
    engine = open_engine("openvino", run.path / "int8.onnx")
    reference = np.concatenate(known.references)
    off = np.abs(engine(np.concatenate(known.samples)) - reference)
    assert off.mean() < 0.02 * reference.std()
    pytest.importorskip("tensorrt_rtx")
    name = build(run, NETWORK, "int8", GpuBuild(gpu="sm89"))
    share = run.files[name]["share_int8"]  # beside the weights there are the scales, the bias and the divisor
    assert share["layers"] == 1.0 and share["weight_bytes"] > 0.6


class Wrong:
    """An engine that opens the file and answers the opposite."""

    def __init__(self, file, threads, streams):
        self._infer = onnx_infer(onnx.load(file))

    def __call__(self, batch):
        return -self._infer(batch)

    def close(self):
        """It holds nothing."""


def test_int8_is_judged_by_every_engine_that_opens_it(model, known, tmp_path, monkeypatch):
    file = tmp_path / "int8.onnx"
    onnx.save(_int8(model, known), file)
    judge_by_engines(NETWORK, known, file, Budget(0.9, 0.2))
    monkeypatch.setitem(ENGINES, "wrong", Kind(f"{__name__}:Wrong", ".onnx", "numpy", "wrong"))
    with pytest.raises(ExportError, match=r"int8\.onnx in wrong of made is not recorded: its masks have Dice 0\.0"):
        judge_by_engines(NETWORK, known, file, Budget(0.9, 0.2))


def test_a_network_without_products_has_no_int8_and_is_told_so():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    made = made_of(network(Scaled))
    with pytest.raises(ExportError, match="int8 of made is not recorded: it has no convolution or matrix product with"):
        Ways(made.model, made.network, made.known, made.drawn)
