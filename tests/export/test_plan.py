import ast
import inspect
import json
from pathlib import Path
from unittest.mock import Mock, call

import cuda.bindings
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from medseg.engines import ENGINES, gpu, lanes, open_engine
from medseg.engines import tensorrt as engine_module
from medseg.engines.runs import exported_file
from medseg.errors import EngineError, ExportError
from medseg.export import plan, readback, weakly
from medseg.export.chain import export
from medseg.export.files import write
from medseg.export.graph import save_graph
from medseg.export.options import ExportOptions
from medseg.export.plan import GpuBuild, build
from medseg.run import Run
from tests.engines.cuda import Runtime
from tests.export.made import Hostile, network, run_of

# Read from the bindings in the wheels tensorrt 8.5.3.1, tensorrt-cu12-bindings 10.13.3.9 and 11.4 and tensorrt-rtx-cu12
# 1.7.1.116: every class that is used, with all its members.
API = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
no_gpu = pytest.mark.skipif(bool(gpu.gpu_name()), reason="tells of a machine without a GPU")
# What plan.py and the engine ask of each class of the two libraries.
USED = {
    "Builder": ["create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"],
    "IBuilderConfig": [
        "set_memory_pool_limit",
        "add_optimization_profile",
        "clear_flag",
        "create_timing_cache",
        "set_timing_cache",
        "get_timing_cache",
        "profiling_verbosity",
    ],
    "ProfilingVerbosity": ["DETAILED"],
    "BuilderFlag": ["TF32"],
    "OnnxParser": ["parse", "num_errors", "get_error"],
    "ErrorCode": ["UNSUPPORTED_NODE"],
    "ParserError": ["code", "desc"],
    "INetworkDefinition": ["num_layers", "get_layer"],
    "IOptimizationProfile": ["set_shape"],
    "MemoryPoolType": ["WORKSPACE"],
    "ILayer": ["type", "get_output_type", "get_input", "get_output"],
    "ITensor": ["name"],
    "IConstantLayer": ["weights"],
    "IConvolutionLayer": ["kernel", "bias"],
    "IDeconvolutionLayer": ["kernel", "bias"],
    "IScaleLayer": ["scale", "shift", "power"],
    "LayerType": ["CONSTANT", "CONVOLUTION", "DECONVOLUTION", "DEQUANTIZE", "MATRIX_MULTIPLY", "SCALE"],
    "DataType": ["FLOAT", "HALF", "INT8"],
    "Weights": ["dtype", "nbytes", "size"],
    "ILogger": ["ERROR", "INTERNAL_ERROR"],
    "Logger": ["ERROR"],
    "ITimingCache": ["serialize"],
    "Runtime": ["deserialize_cuda_engine"],
    "ICudaEngine": ["create_execution_context", "get_tensor_profile_shape"],
    "IExecutionContext": [
        "active_optimization_profile",
        "execute_async_v3",
        "get_tensor_shape",
        "set_input_shape",
        "set_optimization_profile_async",
        "set_tensor_address",
    ],
}
# Of libraries whose networks are strongly typed, and of those whose networks are not.
TYPED = {
    "NetworkDefinitionCreationFlag": ["STRONGLY_TYPED"],
    "ParserError": ["node_name", "node_operator"],
    "LayerType": ["CAST"],
}
UNTYPED = {
    "NetworkDefinitionCreationFlag": ["EXPLICIT_BATCH"],
    "BuilderFlag": ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"],
    "ILayer": ["num_outputs", "precision", "set_output_type"],
    "LayerType": ["IDENTITY"],
    "IBuilderConfig": ["set_tactic_sources"],
    "TacticSource": ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"],
}
ONLY_RTX = {
    "IBuilderConfig": ["num_compute_capabilities", "set_compute_capability"],
    "ComputeCapability": ["SM75", "SM120"],
    "IRuntimeConfig": ["create_runtime_cache", "set_runtime_cache"],
    "IRuntimeCache": ["serialize", "deserialize"],
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    run = run_of(Hostile(), tmp_path_factory.mktemp("runs") / "run")
    assert not export(run, network(Hostile), ExportOptions(fp16=True, samples=2), lambda stage: None)
    return run


@pytest.mark.parametrize("library", list(API))
def test_every_library_has_what_is_used(library):
    typed = "STRONGLY_TYPED" in API[library]["NetworkDefinitionCreationFlag"]
    assert typed == (library != "tensorrt 8.5.3")
    for used in (USED, TYPED if typed else UNTYPED):
        assert not [f"{name}.{member}" for name in used for member in used[name] if member not in API[library][name]]


def test_what_differs_between_the_libraries_is_what_the_code_treats_apart():
    full, rtx = API["tensorrt 11.4"], API["tensorrt_rtx 1.7.1"]
    assert "ComputeCapability" not in full
    for name, members in ONLY_RTX.items():
        assert set(members) <= set(rtx[name])
        assert not set(members) & set(full.get(name, ()))
    for flag in ("FP16", "INT8"):  # precision is the file's: there is no such switch any more
        assert flag not in full["BuilderFlag"] and flag not in rtx["BuilderFlag"]
        # TensorRT 10 has them for networks of its other kind: ours are strongly typed there too, and never set them.
        assert flag in API["tensorrt 10.13.3"]["BuilderFlag"]
    assert "EXPLICIT_BATCH" not in full["NetworkDefinitionCreationFlag"]  # gone since 10, and not asked for


def test_every_member_of_the_libraries_in_the_code_is_recorded():
    known = {name for api in API.values() for cls, members in api.items() for name in (cls, *members)}
    for module in (plan, readback, weakly, engine_module, lanes):
        tree = ast.parse(inspect.getsource(module))
        asked = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and _root(node) in ("trt", "config", "layer")
        }
        assert asked - known <= {"__version__", "__name__", "__members__", "__init__", "__class__", "split"}


def _root(node):
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_rtx_builds_a_strongly_typed_engine_without_a_gpu_and_reads_it_back(exported):
    pytest.importorskip("tensorrt_rtx")
    for gpu_name in ("sm75", "sm89", "sm120"):
        name = build(exported, network(Hostile), "fp16", GpuBuild(gpu=gpu_name))
        facts = exported.files[name]
        assert facts["gpu"] == gpu_name and facts["version"] and facts["engine"] == "tensorrt-rtx"
        assert facts["share_fp16"]["weight_bytes"] > 0.5 and facts["share_fp16"]["layers"] > 0.5
    name = build(exported, network(Hostile), "fp32", GpuBuild(gpu="sm89"))
    assert exported.files[name]["share_fp16"] == {"layers": 0.0, "weight_bytes": 0.0}


def test_an_engine_of_the_same_file_version_gpu_and_options_is_not_built_again(exported):
    pytest.importorskip("tensorrt_rtx")
    name = build(exported, network(Hostile), "fp16", GpuBuild(gpu="sm86"))
    before = exported.files[name]["sha256"]
    assert build(exported, network(Hostile), "fp16", GpuBuild(gpu="sm86")) == name
    assert exported.files[name]["sha256"] == before
    key = exported.files[name]["key"]
    build(exported, network(Hostile), "fp16", GpuBuild(gpu="sm86", batches=(1, 2, 2)))
    assert exported.files[name]["key"] != key


def test_fp16_that_came_out_as_fp32_is_an_error(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    import onnx

    run = run_of(Hostile(), tmp_path / "run")
    export(run, network(Hostile), ExportOptions(samples=1), lambda stage: None)
    save_graph(run, network(Hostile), onnx.load(run.path / "fp32.onnx"), "fp16.onnx", {"precision": "fp16"})
    with pytest.raises(ExportError, match="0% of its weight bytes in float16"):
        build(run, network(Hostile), "fp16", GpuBuild(gpu="sm89"))
    assert not any(name.endswith(".rtx") for name in run.files)


def test_a_corrupt_onnx_is_one_error_and_leaves_nothing(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    run = Run.create(tmp_path / "run", "made", {}, {})
    with run.adding("fp16.onnx", {"precision": "fp16", "suffix": ".onnx"}) as path:
        path.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=r"cannot read .*fp16\.onnx"):
        build(run, network(Hostile), "fp16", GpuBuild(gpu="sm89"))
    assert sorted(path.name for path in run.path.iterdir()) == ["fp16.onnx", "manifest.json"]


def test_an_unknown_gpu_is_told_with_those_there_are():
    with pytest.raises(ExportError, match=r"'sm90'.*sm75 or .* or sm120: for another .* --engine tensorrt"):
        plan.device(GpuBuild(gpu="sm90"))


@no_gpu
def test_full_tensorrt_says_that_it_needs_a_gpu():
    with pytest.raises(ExportError, match="TensorRT builds only for the GPU of this machine, none"):
        plan.device(GpuBuild("tensorrt"))


@no_gpu
def test_opening_an_engine_without_a_gpu_says_so(exported):
    pytest.importorskip("tensorrt_rtx")
    name = build(exported, network(Hostile), "fp16", GpuBuild(gpu="sm80"))
    with pytest.raises(EngineError, match="no NVIDIA GPU, or no driver"):
        open_engine("tensorrt-rtx", exported.path / name)


@pytest.mark.gpu
@pytest.mark.skipif(not gpu.gpu_name(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("engine", [name for name, kind in ENGINES.items() if kind.builds])
def test_an_engine_answers_as_its_onnx_file(exported, engine):
    pytest.importorskip(ENGINES[engine].package)
    if gpu.gpu_name() not in (ENGINES[engine].gpus or (gpu.gpu_name(),)):
        pytest.skip(f"TensorRT-RTX does not build for {gpu.gpu_name()}")
    name = build(exported, network(Hostile), "fp16", GpuBuild(engine, gpu.gpu_name()))
    batch = np.random.default_rng(0).uniform(-1000, 1000, (2, 1, 96, 96)).astype(np.float32)
    opened = open_engine(engine, exported.path / name)
    expected = open_engine("onnxruntime", exported.path / "fp16.onnx")(batch)
    np.testing.assert_allclose(opened(batch), expected, atol=0.02)
    opened.close()


def test_rtx_keeps_its_compiled_kernels_for_the_next_start(tmp_path, monkeypatch):
    """Against stand-ins for the library: no GPU here compiles kernels."""
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine_module, "gpu_name", lambda: "sm89")
    rtx = Mock(__version__="1.7.1")
    monkeypatch.setattr(engine_module, "library", lambda _: rtx)
    monkeypatch.setattr(cuda.bindings, "runtime", Runtime(), raising=False)
    engine = rtx.Runtime.return_value.deserialize_cuda_engine.return_value
    engine.get_tensor_profile_shape.return_value = [(1, 1, 4, 4)] * 3
    engine.create_execution_context.return_value.active_optimization_profile = 0
    config = engine.create_runtime_config.return_value
    kernels = config.create_runtime_cache.return_value
    kernels.serialize.return_value = b"kernels"
    file = tmp_path / "fp16.sm89.rtx"
    file.write_bytes(b"engine")

    open_engine("tensorrt-rtx", file).close()
    kernels.deserialize.assert_not_called()
    open_engine("tensorrt-rtx", file).close()
    kernels.deserialize.assert_called_once_with(b"kernels")
    config.set_runtime_cache.assert_called_with(kernels)
    engine.create_execution_context.assert_called_with(config)


def test_a_timing_cache_that_cannot_be_read_or_written_is_one_error(tmp_path):
    (tmp_path / "folder").write_bytes(b"a file where a folder is due")
    with pytest.raises(ExportError, match=r"folder.timings cannot be written \(.*make room"):
        write(tmp_path / "folder" / "folder.timings", b"1")
    (tmp_path / "timings").write_bytes(b"1")
    assert plan._timings(tmp_path / "timings") == b"1" and plan._timings(tmp_path / "none") == b""


def test_the_workspace_limit_reaches_the_builder(exported):
    pytest.importorskip("tensorrt_rtx")
    name = build(exported, network(Hostile), "fp16", GpuBuild(gpu="sm80", workspace_mib=64))
    assert exported.files[name]["target"]["workspace_mib"] == 64
    rtx = plan.library(GpuBuild().engine)
    for tf32 in (False, True):
        config = Mock()
        plan._configure(rtx, config, GpuBuild(gpu="sm80", workspace_mib=64, tf32=tf32))
        config.set_memory_pool_limit.assert_called_once_with(rtx.MemoryPoolType.WORKSPACE, 64 << 20)
        assert config.clear_flag.call_args_list == ([] if tf32 else [call(rtx.BuilderFlag.TF32)])


def test_tf32_is_a_row_of_its_own(exported):
    pytest.importorskip("tensorrt_rtx")
    assert build(exported, network(Hostile), "fp32", GpuBuild(gpu="sm80", tf32=True)) == "tf32.sm80.rtx"
    assert exported.files["tf32.sm80.rtx"]["precision"] == "tf32"
    assert exported_file(exported, "tensorrt-rtx", "tf32").name == "tf32.sm80.rtx"


def test_what_the_library_does_not_take_is_an_error():
    rtx, config = plan.library(GpuBuild().engine), Mock()
    config.set_compute_capability.return_value = False
    with pytest.raises(ExportError, match="tensorrt-rtx does not take GPU sm80"):
        plan._configure(rtx, config, GpuBuild(gpu="sm80"))


def test_an_operator_that_tensorrt_does_not_have_is_named(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    nodes = [helper.make_node("StringConcat", ["input", "input"], ["output"], name="StringConcat_0")]
    boundary = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 4, 4]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    run = Run.create(tmp_path / "run", "made", {}, {})
    with run.adding("fp16.onnx", {"precision": "fp16", "suffix": ".onnx"}) as path:
        path.write_bytes(model.SerializeToString())
    with pytest.raises(
        ExportError, match=r"cannot read .*fp16\.onnx: it has no operator StringConcat \(StringConcat_0\)"
    ):
        build(run, network(Hostile), "fp16", GpuBuild(gpu="sm89"))
    assert not any(name.endswith(".rtx") for name in run.files)
