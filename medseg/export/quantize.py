"""ONNX to ONNX with int8: explicit Q/DQ pairs around the convolutions and matrix products that tolerate int8.

TensorRT takes only symmetric int8. Weights have a step for each output channel, which every engine supports. Biases
stay float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from medseg.export.evening import BASE, DIVISOR, Range
from medseg.export.products import changed, without_unused
from medseg.export.rounding import levels_of, steps_for


def int8_share(model: onnx.ModelProto, work: Mapping[str, int]) -> dict[str, float]:
    """The shares of weight bytes and of work in int8; each int8 counts as the float32 that it replaced.

    `work` is what `multiply_adds` counts in the float32 model.
    """
    sizes: dict[int, int] = {TensorProto.FLOAT: 0, TensorProto.INT8: 0}
    for constant in model.graph.initializer:
        if constant.data_type in sizes and len(constant.dims) > 1 and not constant.name.endswith((DIVISOR, BASE)):
            sizes[constant.data_type] += int(np.prod(constant.dims))
    rounded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    lowered = sum(work[node.name] for node in model.graph.node if node.name in work and node.input[1] in rounded)
    return {
        "weight_bytes": round(sizes[TensorProto.INT8] / max(sum(sizes.values()), 1), 4),
        "work": round(lowered / max(sum(work.values()), 1), 4),
    }


def quantized(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """The equalized model with every product in int8 that has a range, by node."""
    weights = {constant.name: constant for constant in model.graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if node.name in ranges:
            result.graph.node.extend(_pairs(result.graph, node, weights[node.input[1]], ranges[node.name]))
        else:
            result.graph.node.append(node)
    return without_unused(result)


def _pairs(
    graph: onnx.GraphProto, node: onnx.NodeProto, weights: onnx.TensorProto, known: Range
) -> Iterator[onnx.NodeProto]:
    """A product with a pair before its input, and its weights as int8, which are added to the graph."""
    name = node.name

    def add(end: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}{end}"))
        return f"{name}{end}"

    def made(kind: str, inputs: list[str], end: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [f"{name}{end}"], name=f"{name}{end}_pair", **attributes)

    pair = [add("_step", np.float32(known.step)), add("_zero", np.int8(0) if known.signed else np.uint8(0))]
    yield made("QuantizeLinear", [node.input[0], *pair], "_levels")
    yield made("DequantizeLinear", [f"{name}_levels", *pair], "_rounded")
    values, axis = torch.tensor(numpy_helper.to_array(weights)), _outputs(node, len(weights.dims))
    steps = steps_for(values, tuple(other for other in range(values.ndim) if other != axis))
    levels = levels_of(values, steps).numpy().astype(np.int8)
    parts = add("_int8", levels), add("_steps", steps.numpy().ravel()), add("_zeros", np.zeros(steps.numel(), np.int8))
    yield made("DequantizeLinear", [*parts], "_float", axis=axis)
    yield changed(node, [f"{name}_rounded", f"{name}_float", *node.input[2:]])


def _outputs(node: onnx.NodeProto, axes: int) -> int:
    """Which axis of a product's weights its output channels have."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return axes - 1
    turned = any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if turned else 1  # of ConvTranspose and Gemm


def restored(int8: onnx.ModelProto, full: onnx.ModelProto, keep: Collection[str]) -> onnx.ModelProto:
    """The int8 model, but the nodes named in `keep` read the full model's tensors again, without Q/DQ pairs."""
    original = {node.name: node for node in full.graph.node}
    result = onnx.ModelProto()
    result.CopyFrom(int8)
    for node in result.graph.node:
        if node.name in keep:
            node.input[:] = original[node.name].input
    known = {constant.name for constant in result.graph.initializer}
    result.graph.initializer.extend(constant for constant in full.graph.initializer if constant.name not in known)
    return without_unused(result)
