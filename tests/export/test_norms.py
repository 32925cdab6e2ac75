"""Instance norms written as steps: as exact as torch's in every engine, for volumes, pictures and groups."""

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from medseg.engines import open_engine
from medseg.export.norms import with_exact_norms

CHANNELS = 8
NORMS = {
    "volume": nn.InstanceNorm3d(CHANNELS, affine=True),
    "volume, nothing learnt": nn.InstanceNorm3d(CHANNELS),
    "volume, other epsilon": nn.InstanceNorm3d(CHANNELS, eps=1e-2, affine=True),
    "volume, far from zero": nn.InstanceNorm3d(CHANNELS, affine=True),
    "picture": nn.InstanceNorm2d(CHANNELS, affine=True),
    "picture, far from zero": nn.InstanceNorm2d(CHANNELS, affine=True),
    "groups of a volume": nn.GroupNorm(2, CHANNELS),
    "one group of a picture": nn.GroupNorm(1, CHANNELS),
}


def made(name: str, free: bool, folder: Path) -> tuple[nn.Module, onnx.ModelProto, np.ndarray]:
    """A convolution, whose layout of memory engines choose, and a norm; its graph; and what it is asked.

    `free` leaves its first and last axis free.
    """
    torch.manual_seed(0)
    flat = "picture" in name
    axes = (256, 384) if flat else (24, 64, 64)
    padding = 0 if "far" in name else 1  # borders of zeros vary more than what lies far from zero
    convolution = (nn.Conv2d if flat else nn.Conv3d)(CHANNELS, CHANNELS, 3, padding=padding)
    norm = copy.deepcopy(NORMS[name])
    if (weight := getattr(norm, "weight", None)) is not None:
        nn.init.uniform_(weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    module = nn.Sequential(convolution, norm).eval()
    batch = torch.randn(2, CHANNELS, *axes) * 0.3 + 9  # a mean far from 0, as after a first layer on CT
    dynamic = {0: torch.export.Dim("batch")}
    if free:
        dynamic |= {2: 8 * torch.export.Dim("first"), batch.ndim - 1: 8 * torch.export.Dim("last")}
    program = torch.export.export(module, (batch,), dynamic_shapes=(dynamic,))
    options = {"input_names": ["input"], "output_names": ["output"], "opset_version": 20, "verbose": False}
    graph = torch.onnx.export(program, dynamo=True, **options).model_proto
    for index, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}_{index}"
    return module, graph, batch.numpy()


def answer(engine: str, model: onnx.ModelProto, batch: np.ndarray, folder: Path) -> np.ndarray:
    file = folder / "model.onnx"
    onnx.save(model, file)
    opened = open_engine(engine, file)
    found = opened(batch)
    opened.close()
    return found


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_as_exact_as_torchs_in_every_engine(name, free, tmp_path):
    module, graph, batch = made(name, free, tmp_path)
    exact = with_exact_norms(graph)
    onnx.checker.check_model(exact, full_check=True)
    kinds = Counter(node.op_type for node in exact.graph.node)
    assert len({node.name for node in exact.graph.node}) == len(exact.graph.node)
    if "group" in name and free:  # how long its rows may be is known by nobody before it is asked
        assert kinds["InstanceNormalization"] == 1
        return
    assert not kinds["InstanceNormalization"]
    with torch.inference_mode():
        own = module(torch.from_numpy(batch)).numpy()
        right = module.double()(torch.from_numpy(batch).double()).numpy()
    bound = max(4 * np.abs(own - right).max(), 1e-5)
    for engine in ("openvino", "onnxruntime"):
        assert np.abs(answer(engine, exact, batch, tmp_path) - right).max() <= bound, engine


def test_openvinos_own_norm_of_a_volume_is_less_exact(tmp_path):
    module, graph, batch = made("volume", False, tmp_path)
    with torch.inference_mode():
        right = module.double()(torch.from_numpy(batch).double()).numpy()
    plain, exact = (answer("openvino", one, batch, tmp_path) for one in (graph, with_exact_norms(graph)))
    assert np.abs(plain - right).max() > 2 * np.abs(exact - right).max(), "the steps are needed no more"


def test_what_cannot_be_told_stays_as_it_is():
    value = onnx.helper.make_tensor_value_info
    inputs = [value("input", 1, None), value("scale", 1, [8]), value("bias", 1, [8])]
    node = onnx.helper.make_node("InstanceNormalization", ["input", "scale", "bias"], ["output"], name="norm")
    graph = onnx.helper.make_graph([node], "g", inputs, [value("output", 1, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    assert with_exact_norms(model).graph.node == model.graph.node
