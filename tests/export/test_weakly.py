"""Plans for TensorRT 8, built against a stand-in: the library itself does not start without a GPU.

The stand-in's parser makes one layer of each node of the graph, as TensorRT's does of most, and its builder writes down
the layers' types. That the real library has what is used is tested in test_plan.py, with its API as it was read.
"""

import json
from enum import Enum, IntEnum
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from medseg.engines import open_engine
from medseg.errors import ExportError
from medseg.export import plan, weakly
from medseg.export.chain import export
from medseg.export.options import ExportOptions
from medseg.export.plan import GpuBuild, build
from medseg.run import Run
from tests.export.made import Hostile, network, run_of


class Types(Enum):
    FLOAT, HALF, INT8, INT32 = range(4)


class Flags(IntEnum):
    FP16, INT8, TF32, OBEY_PRECISION_CONSTRAINTS = range(4)


class Layers(Enum):
    CONVOLUTION, DECONVOLUTION, MATRIX_MULTIPLY, CONSTANT, SCALE, IDENTITY, DEQUANTIZE, ELEMENTWISE = range(8)


class Layer:
    """A node as a layer of a network that is not typed: float32 until it is told otherwise."""

    num_outputs = 1

    def __init__(self, node, weights):
        self.name, self.type = node.name, {"Conv": Layers.CONVOLUTION}.get(node.op_type, Layers.ELEMENTWISE)
        self.tensor, self.inputs, self.precision = node.output[0], list(node.input), None
        self.told, self.weights = Types.FLOAT, weights

    def get_output(self, index):
        return SimpleNamespace(name=self.tensor)

    def get_input(self, index):
        return SimpleNamespace(name=self.inputs[index])

    def get_output_type(self, index):
        return self.told

    def set_output_type(self, index, kind):
        self.told = kind

    @property
    def kernel(self):
        return self.weights

    bias = None


class Weights:
    def __init__(self, array):
        kinds = {np.dtype(np.float16): Types.HALF, np.dtype(np.float32): Types.FLOAT}
        self.dtype, self.size, self.nbytes = kinds[array.dtype], array.size, array.nbytes


class Parser:
    def __init__(self, definition, log):
        self.definition = definition

    def parse(self, content):
        self.definition.model = model = onnx.load_from_string(content)
        held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        for node in model.graph.node:
            kernel = held.get(node.input[1]) if node.op_type == "Conv" else None
            self.definition.layers.append(Layer(node, None if kernel is None else Weights(kernel)))
        return True


class Definition:
    def __init__(self):
        self.layers = []

    @property
    def num_layers(self):
        return len(self.layers)

    def get_layer(self, index):
        return self.layers[index]


class Config:
    def __init__(self):
        self.flags = {Flags.TF32}
        self.set_tactic_sources = lambda mask: setattr(self, "sources", mask)
        self.set_flag, self.clear_flag = self.flags.add, self.flags.discard
        self.create_timing_cache = lambda content: SimpleNamespace(serialize=lambda: b"timings")
        self.get_timing_cache = lambda: self.create_timing_cache(b"")

    def set_timing_cache(self, cache, ignore_mismatch):
        return True

    def add_optimization_profile(self, profile):
        return 0


class Builder:
    def __init__(self, log):
        self.create_builder_config = Config

    def create_network(self, flags):
        assert flags == 1, "EXPLICIT_BATCH"
        return Definition()

    def create_optimization_profile(self):
        return SimpleNamespace(set_shape=lambda name, *shapes: None)

    def build_serialized_network(self, definition, config):
        layers = {
            layer.tensor: [layer.told.name, layer.precision and layer.precision.name] for layer in definition.layers
        }
        opset = definition.model.opset_import[0].version
        return json.dumps(
            {"layers": layers, "flags": sorted(f.name for f in config.flags), "opset": opset, "sources": config.sources}
        ).encode()


TRT = SimpleNamespace(
    __name__="tensorrt",
    __version__="8.5.3.1",
    ILogger=type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1}),
    NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
    Builder=Builder,
    OnnxParser=Parser,
    BuilderFlag=Flags,
    ProfilingVerbosity=SimpleNamespace(DETAILED=1),
    TacticSource=IntEnum("TacticSource", "CUBLAS CUBLAS_LT CUDNN EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS", start=0),
    DataType=Types,
    LayerType=Layers,
    Weights=Weights,
    IConvolutionLayer=Layer,
    ILayer=Layer,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Run:
    torch.manual_seed(0)
    run = run_of(Hostile(), tmp_path_factory.mktemp("runs") / "run")
    assert not export(run, network(Hostile), ExportOptions(fp16=True, samples=2), lambda stage: None)
    return run


@pytest.fixture
def tensorrt_8(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(plan, "library", lambda _: TRT)
    monkeypatch.setattr(plan, "gpu_name", lambda: "sm90")


def _built(run, precision):
    return json.loads((run.path / build(run, network(Hostile), precision, GpuBuild("tensorrt"))).read_bytes())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_layer_has_the_type_that_the_file_gives_it(exported, tensorrt_8, precision):
    built = _built(exported, precision)
    assert built["opset"] == 17
    assert built["sources"] == 0b11000, "none that needs cuBLAS or cuDNN"
    assert built["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]  # and not TF32
    file = onnx.shape_inference.infer_shapes(onnx.load(exported.path / f"{precision}.onnx"))
    types = {one.name: one.type.tensor_type.elem_type for one in (*file.graph.value_info, *file.graph.output)}
    words = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}
    told = {name: kind for name, (kind, precision) in built["layers"].items() if kind == precision}
    assert told == {name: words[types[name]] for name in built["layers"]}
    halves = sum(kind == "HALF" for kind in told.values())
    assert (0 < halves < len(told)) if precision == "fp16" else halves == 0  # the normalisation of its input stays fp32
    facts = exported.files[f"{precision}.sm90.plan"]
    assert facts["version"] == "8.5.3.1" and facts["gpu"] == "sm90"


def test_a_file_that_came_out_in_fp32_is_not_recorded_as_fp16(exported, tensorrt_8, monkeypatch):
    monkeypatch.setattr(plan, "older", lambda model: weakly.older(onnx.load(exported.path / "fp32.onnx")))
    facts = {name: dict(one) for name, one in exported.files.items()}
    with pytest.raises(ExportError, match="0% of its weight bytes in float16"):
        build(exported, network(Hostile), "fp16", GpuBuild("tensorrt", batches=(1, 2, 2)))
    assert exported.files == facts


def test_the_older_opset_answers_alike(exported, tmp_path):
    batch = np.random.default_rng(0).uniform(-1000, 1000, (2, 1, 96, 96)).astype(np.float32)
    for precision in ("fp32", "fp16"):
        older = weakly.older(onnx.load(exported.path / f"{precision}.onnx"))
        onnx.save(older, tmp_path / "older.onnx")
        answers = [
            open_engine("onnxruntime", p)(batch) for p in (exported.path / f"{precision}.onnx", tmp_path / "older.onnx")
        ]
        assert np.array_equal(*answers)


def test_a_damaged_file_is_one_sentence(tmp_path, tensorrt_8):
    run = Run.create(tmp_path / "run", "made", {}, {})
    with run.adding("fp16.onnx", {"precision": "fp16", "suffix": ".onnx"}) as path:
        path.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=r"tensorrt cannot read .*fp16\.onnx: .*export the ONNX file again"):
        build(run, network(Hostile), "fp16", GpuBuild("tensorrt"))
