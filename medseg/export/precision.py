"""ONNX to ONNX: float16 inside, float32 inputs and outputs, and named nodes that stay float32.

TensorRT 11, TensorRT-RTX and TensorRT 10's strongly typed networks take the precision only from the file, so FP16 is
made here. Every tensor has a type, every node needs a type, and a Cast is inserted where they differ.
"""

from __future__ import annotations

from collections.abc import Collection, MutableSequence, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medseg.errors import ExportError

FULL, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)  # 65504


def half(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of `model` whose float tensors are float16, except inputs, outputs and the nodes named in `keep`."""
    rewrite = _Rewrite({constant.name: constant for constant in model.graph.initializer}, element_types(model))
    opset = model.opset_import[0].version
    for node in model.graph.node:
        rewrite.append(node, None if node.name in keep else _schema(node, opset))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(rewrite.nodes_ending_in_full([value.name for value in model.graph.output]))
    used = {name for node in result.graph.node for name in node.input}
    result.graph.initializer.extend(constant for name, constant in rewrite.constants.items() if name in used)
    return result


def constants_beyond_half(model: onnx.ModelProto) -> dict[str, float]:
    """Nodes with a constant that float16 cannot hold, and that constant's largest magnitude."""
    peaks = {}
    for constant in model.graph.initializer:
        if constant.data_type == FULL and (values := numpy_helper.to_array(constant)).size:
            peaks[constant.name] = float(np.abs(values).max())
    beyond = {node.name: max((peaks.get(name, 0.0) for name in node.input), default=0.0) for node in model.graph.node}
    return {name: peak for name, peak in beyond.items() if peak > LARGEST}


def half_share(model: onnx.ModelProto) -> dict[str, float]:
    """The shares of nodes and of weight bytes in float16, among those in float16 or float32."""
    types = element_types(model)
    produced = [types.get(node.output[0]) for node in model.graph.node if node.op_type != "Cast"]
    floats = [kind for kind in produced if kind in (FULL, HALF)]
    sizes: dict[int, int] = {FULL: 0, HALF: 0}
    for constant in model.graph.initializer:
        if constant.data_type in sizes:
            sizes[constant.data_type] += numpy_helper.to_array(constant).nbytes
    return {
        "layers": round(floats.count(HALF) / max(len(floats), 1), 4),
        "weight_bytes": round(sizes[HALF] / max(sum(sizes.values()), 1), 4),
    }


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with an Identity after every float16 tensor, so that it can be judged on a CPU.

    ONNX Runtime has few float16 kernels for CPUs. It computes in float32 and removes casts between neighbours, so an
    overflow that would happen on a GPU stays hidden. Identity has a float16 kernel, so each tensor is really rounded.
    """
    types = element_types(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        result.graph.node.append(node)
        copy = result.graph.node[-1]
        for index, name in enumerate(node.output):
            if types.get(name) == HALF:
                copy.output[index] = f"{name}_exact"
                result.graph.node.append(helper.make_node("Identity", [f"{name}_exact"], [name]))
    return result


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Every tensor's element type by name. Raises ExportError if the graph is not valid ONNX."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:
        raise ExportError(f"the ONNX graph is not valid ({str(error).splitlines()[0]}): export it again") from error
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {constant.name: constant.data_type for constant in graph.initializer}


@dataclass
class _Rewrite:
    """The graph while it is rewritten, with the types in which each tensor is available."""

    constants: dict[str, TensorProto]
    types: dict[str, int]  # of the original tensors
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    made: dict[str, int] = field(default_factory=dict)  # tensors produced so far -> their new type

    def append(self, node: onnx.NodeProto, schema: onnx.defs.OpSchema | None) -> None:
        """Add a node: in float16 if its schema allows it, in float32 if `schema` is None."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if self.types.get(name) == FULL:
                copy.input[index] = self._as(name, _type_of(schema.inputs if schema else (), index))
        for index, name in enumerate(node.output):
            if self.types.get(name) == FULL:
                self.made[name] = _type_of(schema.outputs if schema else (), index)
        if node.op_type == "Cast" and schema and self.types.get(node.output[0]) == FULL:
            copy.attribute[0].CopyFrom(helper.make_attribute("to", HALF))
        self.nodes.append(copy)

    def _as(self, name: str, kind: int) -> str:
        """The name under which a tensor is available in this type; it is cast when it is first used."""
        if self.made.get(name, FULL) == kind:
            return name
        other = f"{name}_{'fp16' if kind == HALF else 'fp32'}"
        if name in self.constants and other not in self.constants:
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(self.constants[name]).astype(np.float16)
            self.constants[other] = numpy_helper.from_array(values, other)
        elif name not in self.constants and other not in self.made:
            self.nodes.append(helper.make_node("Cast", [name], [other], name=f"Cast_{other}", to=kind))
            self.made[other] = kind
        return other

    def nodes_ending_in_full(self, outputs: list[str]) -> list[onnx.NodeProto]:
        """The nodes, with a cast to float32 before each graph output that is float16."""
        for output in outputs:
            if self.made.get(output) == HALF:
                inner = f"{output}_inner"
                for node in self.nodes:
                    _rename(node.input, output, inner)
                    _rename(node.output, output, inner)
                self.nodes.append(helper.make_node("Cast", [inner], [output], name=f"Cast_{output}", to=FULL))
        return self.nodes


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _type_of(formals: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> int:
    """FP16 if the operator's schema allows it for this tensor, else FP32 (as for the scales of a Resize)."""
    formal = formals[min(index, len(formals) - 1)] if formals else None  # the last may repeat, as in Concat
    return HALF if formal and "tensor(float16)" in formal.types else FULL


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema:
    """The operator's schema. Raises ExportError for an operator that is unknown or holds a graph of its own."""
    if any(attribute.HasField("g") for attribute in node.attribute):
        raise ExportError(f"operator {node.op_type} ({node.name}) holds a graph; expected none: export no control flow")
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError as error:
        where = f"{node.domain or 'ONNX'} opset {opset}"
        raise ExportError(f"operator {node.op_type} ({node.name}) is not in {where}: build without it") from error
