"""TensorRT 8, whose networks choose types by speed: each layer is given the type that it has in the ONNX file.

From TensorRT 10 on, networks are strongly typed and need none of this. 8.5 is the first with sm90 (H100, H200).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import onnx
from onnx import TensorProto, version_converter

OPSET = 17  # the newest that TensorRT 8's parser reads


def is_weakly_typed(trt: ModuleType) -> bool:
    """Whether this library has no strongly typed networks."""
    return not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def older(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in an opset that TensorRT 8 reads."""
    found = model
    if next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")) > OPSET:
        found = version_converter.convert_version(model, OPSET)
    found.ir_version = min(found.ir_version, 8)
    return found


def tell_types(trt: ModuleType, config: Any, definition: Any, model: onnx.ModelProto) -> None:
    """Set the type of every layer that computes floats; the builder must obey. Tensors not in the file are float32.

    Only TensorRT's own kernels are allowed, so that a plan runs without cuBLAS 11 and cuDNN 8.
    """
    known = {int(TensorProto.FLOAT): trt.DataType.FLOAT, int(TensorProto.FLOAT16): trt.DataType.HALF}
    types = {name: known[kind] for name, kind in _types(model).items() if kind in known}
    own = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
    config.set_tactic_sources(sum(1 << int(source) for source in own))
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        config.set_flag(trt.BuilderFlag.INT8)
    for index in range(definition.num_layers):
        layer = definition.get_layer(index)
        if layer.type != trt.LayerType.CONSTANT and layer.get_output_type(0) in known.values():
            _tell(layer, types, trt.DataType.FLOAT)


def _tell(layer: Any, types: dict[str, Any], otherwise: Any) -> None:
    kinds = [types.get(layer.get_output(index).name, otherwise) for index in range(layer.num_outputs)]
    layer.precision = kinds[0]
    for index, kind in enumerate(kinds):
        layer.set_output_type(index, kind)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor of the graph, if it is known."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
