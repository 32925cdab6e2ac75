"""Evening: how products' inputs become int8, and channels of similar range, so that int8 fits all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from medseg.export.products import CONVOLUTIONS, changed, products, watched, without_unused
from medseg.export.signs import ZERO, Bound
from medseg.task import Array

DIVISOR, BASE = "_divisor", "_base"  # end the names of what evening adds; they do not count as weights
SMALLEST = 1e-3  # the least peak, so that a channel of zeros is not amplified without limit
LEVELS = 127.0  # int8's largest, symmetric
UNSIGNED = 255.0  # uint8's largest


@dataclass(frozen=True)
class Range:
    """How a product's input becomes int8: each channel has steps of its own (c,), or all have the same (1,).

    With a bound it is uint8, counted from the bound's base, so that nothing is negative.
    """

    steps: Array
    bound: Bound | None = None

    @property
    def signed(self) -> bool:
        """Whether its int8 has a sign, as TensorRT needs it."""
        return self.bound is None

    @property
    def is_even(self) -> bool:
        """Whether channels are divided by their steps before they are rounded."""
        return len(self.steps) > 1

    @property
    def step(self) -> float:
        """The step of the Q/DQ pair: 1 for channels that are divided by theirs.

        OpenVINO 2026.4 forgets any other step of signed values that are joined by a Concat.
        """
        return 1.0 if self.is_even else float(self.steps[0])

    @property
    def base(self) -> Array:
        """What is taken off first (c,) or (1,)."""
        return np.zeros(1) if self.bound is None else self.bound.base

    @property
    def divisors(self) -> Array:
        """The steps; negative where values lie below their base."""
        return self.steps if self.bound is None else self.steps * self.bound.side


def ranges_of(
    peaks: Mapping[str, Array], strength: float, bounds: Mapping[str, Bound] | None = None
) -> dict[str, Range]:
    """Products' ranges up to the given peaks of their inputs' channels, by node; those with a bound have no sign.

    The strength, from 0 to 1, says who bears the channels' differences: at 1 the weights alone, at 0 the inputs alone.
    The idea is that of SmoothQuant's migration strength (Xiao et al., 2023).
    """
    found = {}
    for name, inputs in peaks.items():
        even = inputs**strength if len(inputs) > 1 else np.ones(1)
        bound = (bounds or {}).get(name)
        widest = (inputs / even).max() / (UNSIGNED if bound else LEVELS)
        found[name] = Range((even * widest).astype(np.float32), bound)
    return found


def ranges_by_node(model: onnx.ModelProto, ranges: Sequence[Range]) -> dict[str, Range]:
    """The ranges of a program's products, by the nodes of its graph."""
    return {node.name: one for node, one in zip(products(model), ranges, strict=True)}


def channel_peaks(
    model: onnx.ModelProto, samples: Sequence[Array], bounds: Mapping[str, Bound] | None = None
) -> dict[str, Array]:
    """By product, the largest magnitude of each channel (c,) of its input, or (1,) of the whole if it has one range.

    For a product with a bound, the largest distance from its base.
    """
    bounds = bounds or {}
    nodes = products(model)
    names = sorted({node.input[0] for node in nodes})
    session = watched(model, names)
    found: dict[str, Array] = {}
    for sample in samples:
        values = dict(zip(names, session.run(names, {"input": sample}), strict=True))
        for node in nodes:
            peaks = _peaks(node.op_type, values[node.input[0]], bounds.get(node.name, ZERO).base)
            found[node.name] = np.maximum(found.get(node.name, SMALLEST), peaks)
    return found


def _peaks(kind: str, values: Array, base: Array) -> Array:
    others = None if has_one_range(kind, values.shape) else tuple(axis for axis in range(values.ndim) if axis != 1)
    if base.any():
        values = values - base.reshape(-1, *[1] * (values.ndim - 2)).astype(np.float32)
    return np.atleast_1d(np.abs(values).max(axis=others))


def has_one_range(kind: str, shape: Sequence[Any]) -> bool:
    """Whether a product reads this input with one range for all channels.

    Matrix products do, and convolutions of one pixel, as in squeeze-and-excite: OpenVINO 2026.4 answers zeros where an
    activation, a divisor for each channel and int8's rounding meet on one pixel.
    """
    return kind not in CONVOLUTIONS or shape[1] == 1 or all(isinstance(side, int) and side == 1 for side in shape[2:])


def equalized(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """The same function, but convolutions' input channels have similar ranges, so that int8 fits all of them.

    The input is divided by its channels' steps, which are given by node, and the weights are multiplied by them. If it
    has a base, that is taken off first, and the bias makes up for it. Then padding stands for the base, not for zero.
    """
    weights = {constant.name: constant for constant in model.graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if node.name in ranges and ranges[node.name].is_even:
            result.graph.node.extend(_evened(result.graph, node, weights, ranges[node.name]))
        else:
            result.graph.node.append(node)
    return without_unused(result)


def _evened(
    graph: onnx.GraphProto, node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto], known: Range
) -> list[onnx.NodeProto]:
    """The nodes that divide an input and take off its base, and the convolution that makes up for both."""
    values = numpy_helper.to_array(weights[node.input[1]])
    spatial, name, target = [1] * (values.ndim - 2), node.name, even(node.name)

    def add(end: str, value: Array) -> str:
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{name}{end}"))
        return f"{name}{end}"

    def by_filter(channels: Array) -> Array:
        found: Array = by_weight(node.op_type, values.shape, channels)
        return found.reshape(*found.shape, *spatial)

    inputs = [target, add("_weights", values * by_filter(known.divisors)), *node.input[2:]]
    divisor = add(DIVISOR, (1 / known.divisors).reshape(1, -1, *spatial))
    if not known.base.any():
        return [_node("Mul", node.input[0], divisor, target, f"{name}_divide"), changed(node, inputs)]
    base = np.broadcast_to(known.base, known.steps.shape)
    own = numpy_helper.to_array(weights[node.input[2]]) if node.input[2:] and node.input[2] else 0
    inputs[2:] = [
        add("_bias", own + (values * by_filter(base)).sum(axis=tuple(range(1, values.ndim)), dtype=np.float64))
    ]
    moved = add(BASE, (-base / known.divisors).reshape(1, -1, *spatial))
    divide = _node("Mul", node.input[0], divisor, f"{name}_divided", f"{name}_divide")
    return [divide, _node("Add", f"{name}_divided", moved, target, f"{name}_move"), changed(node, inputs)]


def _node(kind: str, first: str, second: str, output: str, name: str) -> onnx.NodeProto:
    return helper.make_node(kind, [first, second], [output], name=name)


def by_weight(kind: str, shape: Sequence[int], steps: Any) -> Any:
    """For each filter of a convolution, the step of the input channel it reads; broadcasts to shape[:2].

    `steps` (c,) are numpy's or torch's.
    """
    if kind == "ConvTranspose":  # (in, out / groups): a row is an input channel, in any group
        return steps.reshape(-1, 1)
    groups = len(steps) // shape[1]  # (out, in / groups): the filters of a group read that group's channels
    rows = np.repeat(np.arange(groups), shape[0] // groups)
    return steps.reshape(groups, shape[1])[rows]


def even(name: str) -> str:
    """The tensor that a convolution of this name reads once its input is equalized."""
    return f"{name}_even"
