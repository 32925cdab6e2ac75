"""ONNX to ONNX with int8: explicit Q/DQ pairs around the convolutions and matrix products that tolerate int8."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from medseg.export.evening import BASE, DIVISOR, Range
from medseg.export.graph import quiet
from medseg.export.products import QUANTIZED, without_unused
from medseg.scratch import Scratch
from medseg.task import Array

# TensorRT takes only symmetric int8. Weights have a scale for each channel, which every engine supports.
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
    "DedicatedQDQPair": True,
    "QuantizeBias": False,
}


class _Reader(CalibrationDataReader):
    """One sample, in the form that ONNX Runtime needs: it runs the model, although every range is given."""

    def __init__(self, sample: Array) -> None:
        self._samples = iter([sample])

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self._samples, None)
        return None if sample is None else {"input": sample}


def int8_share(model: onnx.ModelProto) -> dict[str, float]:
    """The share of weight bytes in int8; each int8 counts as the float32 that it replaced."""
    sizes: dict[int, int] = {TensorProto.FLOAT: 0, TensorProto.INT8: 0}
    for constant in model.graph.initializer:
        if constant.data_type in sizes and len(constant.dims) > 1 and not constant.name.endswith((DIVISOR, BASE)):
            sizes[constant.data_type] += int(np.prod(constant.dims))
    return {"weight_bytes": round(sizes[TensorProto.INT8] / max(sum(sizes.values()), 1), 4)}


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
