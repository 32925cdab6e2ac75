"""Signs: what lies on one side of a bound needs none in 8 bits, so its step is half as wide.

TensorRT reads no such file. Only what the graph itself guarantees counts. What samples show does not: the next one may
lie on the other side. A rectifier's values lie above zero, a smooth one's above its least value; behind a norm, each
channel has a bound of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medseg.task import Array

_ALWAYS = {"Relu", "Sigmoid", "HardSigmoid", "Softmax"}
_AS_THEIR_INPUT = {
    *("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMean", "ReduceMax"),
    *("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Resize"),
}
_BY_CHANNEL = {"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Identity", "Dropout"}
_GATES = {"Sigmoid", "HardSigmoid"}  # between 0 and 1
_LEAST = {"HardSwish": -0.375, "Gelu": -0.1701, "Mish": -0.309, "Elu": -1.0, "Celu": -1.0}  # rounded down
_SWISH = -0.2785  # the least of x * Sigmoid(x), rounded down
_AS_ALL_INPUTS = {"Add", "Mul", "Concat", "Max", "Min"}


@dataclass(frozen=True)
class Bound:
    """Where channels lie: above their base (c,) if their side (c,) is 1, below it if it is -1; (1,) stands for all."""

    base: Array
    side: Array

    @property
    def is_zero(self) -> bool:
        """Whether nothing is below zero: then the values need not be moved."""
        return not self.base.any() and bool((self.side > 0).all())

    def moved(self, scale: Array, shift: Array) -> Bound:
        """The bound of `scale * values + shift`."""
        return Bound(scale * self.base + shift, self.side * np.where(scale < 0, -1, 1))


ZERO = Bound(np.zeros(1), np.ones(1))


def bounds(model: onnx.ModelProto) -> dict[str, Bound]:
    """By name, the bound of each tensor that a rectifier, or what follows it, keeps on one side."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    found = {
        name: ZERO
        for name, values in constants.items()
        if values.size and values.dtype.kind == "f" and values.min() >= 0
    }
    makers: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:  # in an order in which every tensor is made before it is read
        bound = _bound(node, found, constants) or _gated(node, found, makers)
        makers.update(dict.fromkeys(node.output, node))
        if bound is not None:
            found.update(dict.fromkeys(node.output, bound))
    return {name: bound for name, bound in found.items() if name not in constants}


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


def _bound(node: onnx.NodeProto, found: Mapping[str, Bound], constants: Mapping[str, Array]) -> Bound | None:
    if node.op_type in _ALWAYS:
        return ZERO
    if node.op_type in _LEAST:
        return _above(_LEAST[node.op_type] * max(0.0, _told(node).get("alpha", 1.0)))
    if node.op_type == "Clip":
        return ZERO if len(node.input) > 1 and _all_zero(node.input[1:2], found) else None
    if node.op_type in _AS_ALL_INPUTS and _all_zero(node.input, found):
        return ZERO
    own = found.get(node.input[0]) if node.input else None
    if own is None:
        return None
    if node.op_type in _AS_THEIR_INPUT and not _overshoots(node):
        return own if own.is_zero or (node.op_type in _BY_CHANNEL and not _pads(node)) else None
    line = _line(node, constants)
    return own.moved(*line) if line else None


def _gated(node: onnx.NodeProto, found: Mapping[str, Bound], makers: Mapping[str, onnx.NodeProto]) -> Bound | None:
    """The bound of a product with a gate: of the tensor itself, as in Swish, or of another that has a bound."""
    if node.op_type != "Mul":
        return None
    for name, other in (node.input, reversed(node.input)):
        gate = makers.get(other)
        if gate is None or gate.op_type not in _GATES:
            continue
        if gate.input[0] == name:
            return _above(_SWISH if gate.op_type == "Sigmoid" else _least_hard(gate))
        if name in found and (found[name].side > 0).all():
            return Bound(np.minimum(found[name].base, 0), found[name].side)
    return None


def _least_hard(gate: onnx.NodeProto) -> float:
    """The least of x * HardSigmoid(x), which is a parabola between its two ends."""
    told = _told(gate)
    return float(-(told.get("beta", 0.5) ** 2) / (4 * told.get("alpha", 0.2)))


def _above(base: float) -> Bound:
    return Bound(np.array([base]), np.ones(1))


def _told(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _all_zero(names: Sequence[str], found: Mapping[str, Bound]) -> bool:
    return all(name in found and found[name].is_zero for name in names)


def _line(node: onnx.NodeProto, constants: Mapping[str, Array]) -> tuple[Array, Array] | None:
    """By what scale and shift, (c,) or (1,), a node changes each channel of its first input; None if by no constant."""
    one, none = np.ones(1), np.zeros(1)
    if node.op_type == "BatchNormalization" and all(name in constants for name in node.input[1:]):
        told = _told(node)
        scale, shift, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:])
        scale = scale / np.sqrt(variance + told.get("epsilon", 1e-5))
        return scale, shift - scale * mean
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or (known := _by_channel(constants.get(node.input[1]))) is None:
        return None
    if node.op_type in ("Add", "Sub"):
        return one, known if node.op_type == "Add" else -known
    if node.op_type == "Mul":
        return known, none
    return (1 / known, none) if known.all() else None


def _by_channel(values: Array | None) -> Array | None:
    """A constant that has one value for each channel, (1, c, 1, ...), or for all; None for others."""
    if values is None or (values.size > 1 and (values.ndim < 3 or values.size != values.shape[1])):
        return None
    return values.reshape(-1).astype(np.float64)


def _pads(node: onnx.NodeProto) -> bool:
    """Whether a pool may count places outside of its input."""
    told = _told(node)
    return bool(any(told.get("pads", ())) or told.get("ceil_mode", 0) or told.get("auto_pad", b"NOTSET") != b"NOTSET")


def _overshoots(node: onnx.NodeProto) -> bool:
    """Whether it resizes with a cubic curve, which goes below zero beside an edge, or with its own value outside."""
    told = _told(node)
    return told.get("mode") == b"cubic" or told.get("extrapolation_value", 0.0) < 0
