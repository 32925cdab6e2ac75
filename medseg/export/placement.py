"""Where Q/DQ pairs stand: before Concats, so that engines join int8.

Right before a product is not the best place if the product reads a Concat: the parts are then joined in float32, and
read again to be rounded. Before the Concat, each part is rounded where it is computed. The answers are the same bit by
bit. Resizes and MaxPools could come after the rounding too, but OpenVINO takes longer to resize int8, and gains
nothing from pooling it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import onnx
from onnx import helper, numpy_helper

from medseg.export.evening import BASE, DIVISOR
from medseg.export.products import changed, shapes_of
from medseg.task import Array


def placed(model: onnx.ModelProto, sample: Array) -> onnx.ModelProto:
    """The same function, but its Q/DQ pairs stand before the Concats of channels that products read.

    The Concats stay where they were too, for products that read them in float32.
    """
    places = _Places(model, sample)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        rounding = places.rounding(node)
        result.graph.node.extend(places.moved(rounding, rounding.reads, node.output[0]) if rounding else [node])
    result.graph.initializer.extend(places.made)
    return result


@dataclass(frozen=True)
class _Rounding:
    """The nodes that round a tensor: those that even its channels, with their constants (1, c, ...), and the pair."""

    nodes: Sequence[onnx.NodeProto]
    constants: Sequence[Array]

    @property
    def reads(self) -> str:
        """The tensor."""
        return str(self.nodes[0].input[0])

    def part(self, channels: slice) -> _Rounding:
        """The rounding of some of the channels."""
        return _Rounding(self.nodes, [values[:, channels] for values in self.constants])


class _Places:
    """A graph in which roundings move."""

    def __init__(self, model: onnx.ModelProto, sample: Array) -> None:
        self.made: list[onnx.TensorProto] = []  # constants of roundings that were divided
        self._constants = {one.name: one for one in model.graph.initializer}
        self._maker = {name: node for node in model.graph.node for name in node.output}
        joined = {name for node in model.graph.node if node.op_type == "Concat" for name in node.input}
        self._shapes = shapes_of(model, joined - self._constants.keys(), sample)

    def rounding(self, node: onnx.NodeProto) -> _Rounding | None:
        """The rounding that ends in this node, if there is one that can move."""
        if node.op_type != "DequantizeLinear" or node.input[0] not in self._maker:
            return None
        pair = [self._maker[node.input[0]], node]
        evening: list[onnx.NodeProto] = []
        while (before := self._maker.get((evening or pair)[0].input[0])) and _evens(before):
            evening.insert(0, before)
        constants = [numpy_helper.to_array(self._constants[one.input[1]]) for one in evening]
        found = _Rounding([*evening, *pair], constants)
        return found if self._parts(found, found.reads) else None

    def moved(self, rounding: _Rounding, tensor: str, target: str) -> Iterator[onnx.NodeProto]:
        """The nodes that make `target`, which is the tensor rounded, as early as it can be."""
        parts = self._parts(rounding, tensor)
        if not parts:
            yield from self._applied(rounding, tensor, target)
            return
        names = [f"{target}_{index}" for index in range(len(parts))]
        for name, (part, reads) in zip(names, parts, strict=True):
            yield from self.moved(part, reads, name)
        joined = changed(self._maker[tensor], names)
        joined.name, joined.output[:] = f"{target}_node", [target]
        yield joined

    def _parts(self, rounding: _Rounding, tensor: str) -> list[tuple[_Rounding, str]]:
        """What can be rounded instead of the tensor, each with its rounding; nothing if the tensor itself must be."""
        maker = self._maker.get(tensor)
        if maker is None or maker.op_type != "Concat" or not self._shapes.keys() >= set(maker.input):
            return []
        shapes = [self._shapes[name] for name in maker.input]
        if helper.get_attribute_value(maker.attribute[0]) not in (1, 1 - len(shapes[0])):
            return []
        ends = pairwise(accumulate((shape[1] for shape in shapes), initial=0))
        return [(rounding.part(slice(*one)), name) for one, name in zip(ends, maker.input, strict=True)]

    def _applied(self, rounding: _Rounding, tensor: str, target: str) -> Iterator[onnx.NodeProto]:
        """The rounding's nodes for another tensor."""
        for place, node in enumerate(rounding.nodes):
            inputs = [tensor, *node.input[1:]]
            if place < len(rounding.constants):
                inputs[1] = f"{target}{DIVISOR if node.op_type == 'Mul' else BASE}"
                self.made.append(numpy_helper.from_array(rounding.constants[place], inputs[1]))
            tensor = target if node is rounding.nodes[-1] else f"{target}_{node.op_type}"
            copy = changed(node, inputs)
            copy.name, copy.output[:] = f"{tensor}_node", [tensor]
            yield copy


def _evens(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Mul", "Add") and str(node.input[1]).endswith((DIVISOR, BASE))
