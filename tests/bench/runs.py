"""Runs whose networks are a few nodes: exported files for every task without training, tracing or torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medseg.run import Run
from medseg.task import Network


def bright_run(folder: Path, network: Network, level: float = 0.5, slow: int = 0) -> Run:
    """A run whose network finds what is brighter than `level`, in the mean of its input's channels.

    `slow` convolutions before that change nothing, but take time; for pictures and slices only.
    """
    made = Run.create(folder, network.name, {}, {})
    with made.adding("fp32.onnx", {"precision": "fp32"}) as path:
        onnx.save(_bright(network, level, slow), path)
    return made


def _bright(network: Network, level: float, slow: int) -> onnx.ModelProto:
    crops = len(network.output_shape) == 1
    axes, keep = ([2, 3, 4], 0) if crops else ([1], 1)
    logits = ["dark", "bright"] if crops else ["bright"] * network.output_shape[0]
    nodes = [
        *(
            helper.make_node("Conv", [f"same {at}" if at else "input", "kernel"], [f"same {at + 1}"], pads=[3] * 4)
            for at in range(slow)
        ),
        helper.make_node("ReduceMean", [f"same {slow}" if slow else "input", "axes"], ["mean"], keepdims=keep),
        helper.make_node("Sub", ["mean", "level"], ["bright"]),
        helper.make_node("Neg", ["bright"], ["dark"]),
        helper.make_node("Concat", logits, ["output"], axis=1),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
        helper.make_tensor("level", TensorProto.FLOAT, [], [level]),
    ]
    if slow:
        kernel = np.zeros((network.input_shape[0], network.input_shape[0], 7, 7), np.float32)
        kernel[:, :, 3, 3] = np.eye(network.input_shape[0])
        constants.append(numpy_helper.from_array(kernel, "kernel"))
    free = {axis: f"axis {axis}" for axis in (0, *network.free_axes)}
    wires = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [free.get(axis, size) for axis, size in enumerate((0, *shape))]
        )
        for name, shape in (("input", network.input_shape), ("output", network.output_shape))
    ]
    graph = helper.make_graph(nodes, "bright", wires[:1], wires[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
