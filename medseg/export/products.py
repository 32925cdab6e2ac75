"""The products of a graph, which multiply by the network's weights: what int8 is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

import onnx
import onnxruntime
from onnx import helper

from medseg.task import Array

# These take most of the time. Other operators stay float: engines fuse them into these, or gain nothing from int8.
CONVOLUTIONS = ("Conv", "ConvTranspose")
QUANTIZED = (*CONVOLUTIONS, "Gemm", "MatMul")


def products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that multiply by the network's weights, in the graph's order."""
    weights = {constant.name for constant in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type in QUANTIZED and node.input[1] in weights]


def multiply_adds(model: onnx.ModelProto, sample: Array) -> dict[str, int]:
    """By product, how often it multiplies and adds for one sample."""
    nodes, sizes = products(model), {one.name: prod(one.dims) for one in model.graph.initializer}
    # Each weight of a convolution is used once for each place of its output; of a transposed one, of its input.
    shown = {node.name: node.input[0] if node.op_type == "ConvTranspose" else node.output[0] for node in nodes}
    shapes = shapes_of(model, set(shown.values()), sample)

    def places(node: onnx.NodeProto) -> int:
        shape = shapes[shown[node.name]]
        return prod(shape[2:] if node.op_type in CONVOLUTIONS else shape[:-1])

    return {node.name: sizes[node.input[1]] * places(node) for node in nodes}


def shapes_of(model: onnx.ModelProto, tensors: Collection[str], sample: Array) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes by name, if the network reads this sample."""
    names = sorted(tensors)
    values = watched(model, names).run(names, {"input": sample}) if names else []
    return {name: value.shape for name, value in zip(names, values, strict=True)}


def costs(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], work: Mapping[str, int]) -> dict[str, float]:
    """By node, what it costs to keep it in float32: its shares of the work, of the weights and of the count, added.

    Without the last, many small ones would be kept, and each of them needs its input in float32 again. What has no work
    by name counts as none.
    """
    sizes = {one.name: prod(one.dims) for one in model.graph.initializer}
    weights = {node.name: sum(sizes.get(name, 0) for name in node.input) for node in nodes}
    all_work, all_weights = max(sum(work.values()), 1), max(sum(weights.values()), 1)
    return {
        name: work.get(name, 0) / all_work + size / all_weights + 1 / len(weights) for name, size in weights.items()
    }


def watched(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session of the model with these tensors as outputs too."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in outputs)
    return onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])


def changed(node: onnx.NodeProto, inputs: list[str]) -> onnx.NodeProto:
    """The node with other inputs."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = inputs
    return copy


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
