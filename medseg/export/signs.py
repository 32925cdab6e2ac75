"""Signs: what is never negative needs none in 8 bits, so its step is half as wide. TensorRT reads no such file.

Only what the graph itself guarantees counts. What samples show does not: the next one may be negative.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx
from onnx import TensorProto, helper, numpy_helper

_ALWAYS = {"Relu", "Sigmoid", "HardSigmoid", "Softmax"}
_AS_THEIR_INPUT = {
    *("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMean", "ReduceMax"),
    *("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Resize"),
}
_AS_ALL_INPUTS = {"Add", "Mul", "Concat", "Max", "Min"}


def never_negative(model: onnx.ModelProto) -> set[str]:
    """The names of the tensors that a rectifier, or what follows it, keeps at zero or above."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    found = {
        name for name, values in constants.items() if values.size and values.dtype.kind == "f" and values.min() >= 0
    }
    for node in model.graph.node:  # in an order in which every tensor is made before it is read
        if _keeps(node, found):
            found.update(node.output)
    return found - set(constants)


def unsigned_tensors(model: onnx.ModelProto) -> list[str]:
    """What is quantized to 8 bits without a sign. TensorRT-RTX 1.7 only warns, and reads it as if it had one.

    Weights need no such check: its parser refuses those without a sign.
    """
    types = {constant.name: constant.data_type for constant in model.graph.initializer}
    made = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return [node.output[0] for node in made if _quantized_to(node, types) == TensorProto.UINT8]


def _quantized_to(node: onnx.NodeProto, types: Mapping[str, int]) -> int | None:
    """The type that it makes; None if the graph computes its zero."""
    told: int = next((one.i for one in node.attribute if one.name == "output_dtype" and one.i), TensorProto.UINT8)
    return types.get(node.input[2]) if len(node.input) > 2 and node.input[2] else told


def _keeps(node: onnx.NodeProto, found: Collection[str]) -> bool:
    if node.op_type in _AS_THEIR_INPUT:
        return node.input[0] in found and not _overshoots(node)
    if node.op_type in _AS_ALL_INPUTS:
        return all(name in found for name in node.input)
    return node.op_type in _ALWAYS or (node.op_type == "Clip" and len(node.input) > 1 and node.input[1] in found)


def _overshoots(node: onnx.NodeProto) -> bool:
    """Whether it resizes with a cubic curve, which goes below zero beside an edge, or with its own value outside."""
    told = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return told.get("mode") == b"cubic" or told.get("extrapolation_value", 0.0) < 0
