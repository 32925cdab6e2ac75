"""ONNX to ONNX with int8: explicit Q/DQ pairs around the convolutions and matrix products that tolerate int8."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from medseg.export.graph import quiet
from medseg.scratch import Scratch
from medseg.task import Array

# These take most of the time. Other operators stay float: engines fuse them into these, or gain nothing from int8.
CONVOLUTIONS = ("Conv", "ConvTranspose")
QUANTIZED = (*CONVOLUTIONS, "Gemm", "MatMul")
DIVISOR = "_divisor"  # ends the names of the divisors that equalizing adds; they do not count as weights
SMALLEST = 1e-3  # the least peak, so that a channel of zeros is not amplified without limit
LEVELS = 127.0  # int8's largest, symmetric
UNSIGNED = 255.0  # uint8's largest
# TensorRT takes only symmetric int8. Weights have a scale for each channel, which every engine supports.
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
    "DedicatedQDQPair": True,
    "QuantizeBias": False,
}


@dataclass(frozen=True)
class Range:
    """How a product's input becomes int8: each channel (c,) is divided by its peak, then everything by one step.

    One peak (1,) of a whole input is 1: nothing is divided but by the step. Without a sign it is uint8 from zero on.
    """

    peaks: Array
    step: float
    signed: bool = True


class _Reader(CalibrationDataReader):
    """One sample, in the form that ONNX Runtime needs: it runs the model, although every range is given."""

    def __init__(self, sample: Array) -> None:
        self._samples = iter([sample])

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self._samples, None)
        return None if sample is None else {"input": sample}


def equalized(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """The same function, but convolutions' input channels have similar ranges, so that int8 fits all of them.

    The input is divided by its channels' peaks, which are given by node, and the weights are multiplied by them.
    """
    weights = {constant.name: constant for constant in model.graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if node.name in ranges and len(ranges[node.name].peaks) > 1:
            result.graph.node.append(_divided(result, node, weights[node.input[1]], ranges[node.name].peaks))
            node = changed(node, [even(node.name), f"{node.name}_weights", *node.input[2:]])
        result.graph.node.append(node)
    return without_unused(result)


def int8_share(model: onnx.ModelProto) -> dict[str, float]:
    """The share of weight bytes in int8; each int8 counts as the float32 that it replaced."""
    sizes: dict[int, int] = {TensorProto.FLOAT: 0, TensorProto.INT8: 0}
    for constant in model.graph.initializer:
        if constant.data_type in sizes and len(constant.dims) > 1 and not constant.name.endswith(DIVISOR):
            sizes[constant.data_type] += int(np.prod(constant.dims))
    return {"weight_bytes": round(sizes[TensorProto.INT8] / max(sum(sizes.values()), 1), 4)}


def _divided(model: onnx.ModelProto, node: onnx.NodeProto, weights: onnx.TensorProto, peaks: Array) -> onnx.NodeProto:
    """The node that divides a convolution's input by its peaks; adds the multiplied weights to the model."""
    values = numpy_helper.to_array(weights)
    spatial = [1] * (values.ndim - 2)
    scale = by_weight(node.op_type, values.shape, peaks)
    scale = scale.reshape(*scale.shape, *spatial)
    divisor = (1 / peaks).reshape(1, -1, *spatial).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array((values * scale).astype(np.float32), f"{node.name}_weights"))
    model.graph.initializer.append(numpy_helper.from_array(divisor, f"{node.name}{DIVISOR}"))
    names = [node.input[0], f"{node.name}{DIVISOR}"]
    return helper.make_node("Mul", names, [even(node.name)], name=f"{node.name}_divide")


def by_weight(kind: str, shape: Sequence[int], peaks: Any) -> Any:
    """For each filter of a convolution, the peak of the input channel it reads; broadcasts to shape[:2].

    `peaks` (c,) are numpy's or torch's.
    """
    if kind == "ConvTranspose":  # (in, out / groups): a row is an input channel, in any group
        return peaks.reshape(-1, 1)
    groups = len(peaks) // shape[1]  # (out, in / groups): the filters of a group read that group's channels
    rows = np.repeat(np.arange(groups), shape[0] // groups)
    return peaks.reshape(groups, shape[1])[rows]


def channel_peaks(model: onnx.ModelProto, samples: Sequence[Array]) -> dict[str, Array]:
    """By product, the largest magnitude of each channel (c,) of its input, or (1,) of the whole if it has one range."""
    nodes = products(model)
    names = sorted({node.input[0] for node in nodes})
    session = watched(model, names)
    found: dict[str, Array] = {}
    for sample in samples:
        values = dict(zip(names, session.run(names, {"input": sample}), strict=True))
        for node in nodes:
            peaks = _peaks(node.op_type, values[node.input[0]])
            found[node.name] = np.maximum(found.get(node.name, SMALLEST), peaks)
    return found


def multiply_adds(model: onnx.ModelProto, sample: Array) -> dict[str, int]:
    """By product, how often it multiplies and adds for one sample."""
    nodes, sizes = products(model), {one.name: prod(one.dims) for one in model.graph.initializer}
    # Each weight of a convolution is used once for each place of its output; of a transposed one, of its input.
    shown = {node.name: node.input[0] if node.op_type == "ConvTranspose" else node.output[0] for node in nodes}
    names = sorted(set(shown.values()))
    shapes = {
        name: value.shape
        for name, value in zip(names, watched(model, names).run(names, {"input": sample}), strict=True)
    }

    def places(node: onnx.NodeProto) -> int:
        shape = shapes[shown[node.name]]
        return prod(shape[2:] if node.op_type in CONVOLUTIONS else shape[:-1])

    return {node.name: sizes[node.input[1]] * places(node) for node in nodes}


def watched(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session of the model with these tensors as outputs too."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in outputs
    )
    return onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])


def has_one_range(kind: str, shape: Sequence[Any]) -> bool:
    """Whether a product reads this input with one range for all channels.

    Matrix products do, and convolutions of one pixel, as in squeeze-and-excite: OpenVINO 2026.4 answers zeros where an
    activation, a divisor for each channel and int8's rounding meet on one pixel.
    """
    return kind not in CONVOLUTIONS or shape[1] == 1 or all(isinstance(side, int) and side == 1 for side in shape[2:])


def ranges_of(peaks: Mapping[str, Array], strength: float, unsigned: Collection[str] = ()) -> dict[str, Range]:
    """Products' ranges up to the given peaks of their inputs' channels, by node; `unsigned` names those without a sign.

    The strength, from 0 to 1, says who bears the channels' differences: at 1 the weights alone, at 0 the inputs alone.
    The idea is that of SmoothQuant's migration strength (Xiao et al., 2023).
    """
    found = {}
    for name, inputs in peaks.items():
        even = inputs**strength if len(inputs) > 1 else np.ones(1)
        even = even / np.exp(np.log(even).mean())
        signed = name not in unsigned
        step = float((inputs / even).max()) / (LEVELS if signed else UNSIGNED)
        found[name] = Range(even.astype(np.float32), step, signed)
    return found


def _peaks(kind: str, values: Array) -> Array:
    others = None if has_one_range(kind, values.shape) else tuple(axis for axis in range(values.ndim) if axis != 1)
    return np.atleast_1d(np.abs(values).max(axis=others))


def products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that multiply by the network's weights, in the graph's order."""
    weights = {constant.name for constant in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type in QUANTIZED and node.input[1] in weights]


def ranges_by_node(model: onnx.ModelProto, ranges: Sequence[Range]) -> dict[str, Range]:
    """The ranges of a program's products, by the nodes of its graph."""
    return {node.name: one for node, one in zip(products(model), ranges, strict=True)}


def even(name: str) -> str:
    """The tensor that a convolution of this name reads once its input is equalized."""
    return f"{name}_even"


def changed(node: onnx.NodeProto, inputs: list[str]) -> onnx.NodeProto:
    """The node with other inputs."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = inputs
    return copy


def quantized(model: onnx.ModelProto, ranges: Mapping[str, Range], sample: Array) -> onnx.ModelProto:
    """The equalized model with every convolution and matrix product that has weights in int8, by their ranges.

    Products of two activations, as in attention, stay float.
    """
    reads = {node.name: node.input[0] for node in model.graph.node}
    known = {reads[name]: [_override(one)] for name, one in ranges.items()}
    with Scratch("export") as folder, quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), source)
        quantize_static(
            source,
            target,
            _Reader(sample),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_quantize=list(ranges),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options=OPTIONS | {"TensorQuantOverrides": known},
        )
        logging.getLogger().setLevel(logging.WARNING)  # quantize_static changes it for the whole process
        return onnx.load(target)


def _override(one: Range) -> dict[str, Any]:
    """A tensor's type, step and zero for ONNX Runtime's quantizer."""
    kind, zero = (QuantType.QInt8, np.int8(0)) if one.signed else (QuantType.QUInt8, np.uint8(0))
    return {"quant_type": kind, "scale": np.array(one.step, np.float32), "zero_point": np.array(zero)}


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


def without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes and constants that nothing reads, in place."""
    needed = {output.name for output in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    constants = [constant for constant in model.graph.initializer if constant.name in needed]
    nodes.reverse()
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    return model
