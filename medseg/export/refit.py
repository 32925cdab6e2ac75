"""Convolutions that make up for int8: weights that suit rounded inputs, rounded so that their errors cancel.

A filter meets rounded inputs. The weights that then answer most like float32 are not quite the network's own: they are
found by least squares on real samples, with a ridge that draws them to the network's own. They are rounded one after
the other, and what each loses is made up for by those that follow (GPTQ, Frantar et al., 2023). The bias takes what is
left of the mean error. Each convolution is fitted by itself, to float32 inputs of its own graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from medseg.export.evening import LEVELS, UNSIGNED, Range
from medseg.export.products import changed, watched, without_unused
from medseg.export.rounding import Moments, levels_of, steps_for
from medseg.task import Array

MOST = 8  # times as many places as a filter has inputs are looked at, spread over the samples
ENOUGH = 4  # times as many must be there: from fewer, a filter would learn them by heart, so only its bias changes
LEAST = 1024  # places, however few inputs a filter has
WIDEST = 4608  # inputs of a filter that is fitted: 512 channels of 3 x 3


@dataclass(frozen=True)
class Refit:
    """A convolution's int8 weights, their steps (out,), and what its bias gains (out,)."""

    weights: Array
    steps: Array
    bias: Array


def refitted(even: onnx.ModelProto, ranges: Mapping[str, Range], samples: Sequence[Array]) -> dict[str, Refit]:
    """The refit of every convolution of an equalized model that can be fitted, by node; the others stay as they are."""
    return {one.node.name: one.refit() for one in studied(even, ranges, samples)}


def studied(even: onnx.ModelProto, ranges: Mapping[str, Range], samples: Sequence[Array]) -> list[Convolution]:
    """Every convolution of an equalized model that can be fitted, with what it reads of the samples."""
    found = list(_convolutions(even, ranges))
    if not found:
        return []
    names = sorted({one.reads for one in found})
    session, draw = watched(even, names), np.random.default_rng(0)
    for sample in samples:
        values = dict(zip(names, session.run(names, {"input": sample}), strict=True))
        for one in found:
            one.see(values[one.reads], len(samples), draw)
    return found


def applied(int8: onnx.ModelProto, refits: Mapping[str, Refit]) -> onnx.ModelProto:
    """The int8 model whose convolutions have these weights and biases."""
    result = onnx.ModelProto()
    result.CopyFrom(int8)
    del result.graph.node[:]
    for node in int8.graph.node:
        if node.name in refits:
            node = _with(refits[node.name], node, result.graph)
        result.graph.node.append(node)
    return without_unused(result)


def _with(refit: Refit, node: onnx.NodeProto, graph: onnx.GraphProto) -> onnx.NodeProto:
    """The convolution that reads the refit, which is added to the graph."""
    name, bias = f"{node.name}_refit", refit.bias
    for own in (one for one in graph.initializer if one.name in node.input[2:]):
        bias = bias + numpy_helper.to_array(own)
    parts = {name: refit.weights, f"{name}_steps": refit.steps, f"{name}_zeros": np.zeros(len(refit.steps), np.int8)}
    values = parts | {f"{name}_bias": bias.astype(np.float32)}
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in values.items())
    axis = int(node.op_type == "ConvTranspose")
    graph.node.append(helper.make_node("DequantizeLinear", list(parts), [f"{name}_float"], f"{name}_pair", axis=axis))
    return changed(node, [node.input[0], f"{name}_float", f"{name}_bias"])


def _convolutions(even: onnx.ModelProto, ranges: Mapping[str, Range]) -> Iterator[Convolution]:
    """The products that can be written as a matrix for each group of channels."""
    constants = {one.name: one for one in even.graph.initializer}
    for node in even.graph.node:
        if node.name not in ranges or not constants.keys() >= {name for name in node.input[1:] if name}:
            continue
        knobs = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        weights, padded = numpy_helper.to_array(constants[node.input[1]]), knobs.get("auto_pad", b"NOTSET")
        if node.op_type == "Conv" and padded == b"NOTSET":
            yield Convolution(node, weights, knobs, ranges[node.name])
        elif node.op_type == "ConvTranspose" and padded == b"NOTSET" and _apart(knobs, weights):
            yield _Transposed(node, weights, ranges[node.name])


def _apart(knobs: Mapping[str, Any], weights: Array) -> bool:
    """Whether a transposed convolution's steps do not overlap, so that each place of the output has one input."""
    plain = [1] * (weights.ndim - 2)
    usual = knobs.get("dilations", plain) == plain and knobs.get("group", 1) == 1 and "output_shape" not in knobs
    padded = any([*knobs.get("pads", ()), *knobs.get("output_padding", ())])
    return usual and not padded and knobs.get("strides", plain) == list(weights.shape[2:])


class Convolution:
    """One convolution: what it reads at some places of the samples, and the weights that follow from that.

    Its weights are a matrix (groups, outputs, taps, inputs) with one step for each output. An input is a tap of a
    channel, unless the convolution is transposed: then outputs have taps.
    """

    def __init__(self, node: onnx.NodeProto, weights: Array, knobs: Mapping[str, Any], known: Range) -> None:
        self.node, self.reads, self._range, self._shape = node, node.input[0], known, weights.shape
        axes = weights.ndim - 2
        self._sides, self._groups = weights.shape[2:], int(knobs.get("group", 1))
        self._strides, self._dilations = (knobs.get(name, [1] * axes) for name in ("strides", "dilations"))
        pads = knobs.get("pads", [0] * 2 * axes)
        self._pads = list(zip(pads[:axes], pads[axes:], strict=True))
        self._own = self._matrix(torch.from_numpy(weights.astype(np.float64)))
        self._moments: Moments | None = None

    def see(self, values: Array, samples: int, draw: np.random.Generator) -> None:
        """Look at one of so many samples' inputs (n, c, ...), in places drawn at random."""
        groups, _, _, inputs = self._own.shape
        axes = zip(values.shape[2:], self._sides, self._strides, self._dilations, self._pads, strict=True)
        room = [(side + sum(pads) - step * (tap - 1) - 1) // stride + 1 for side, tap, stride, step, pads in axes]
        fits = inputs <= WIDEST
        there, wanted = len(values) * prod(room), max(LEAST, MOST * inputs) if fits else LEAST
        share = -(-wanted // samples)
        chosen = draw.integers(there, size=share) if share < there else np.arange(there)
        which, *places = np.unravel_index(chosen, (len(values), *room))
        taps = [self._tap(values, which, places, taps) for taps in np.ndindex(*self._sides)]
        rows = torch.from_numpy(np.stack(taps, axis=-1)).reshape(len(chosen), groups, inputs).transpose(0, 1)
        if self._moments is None:
            self._moments = Moments(groups, inputs, fits and samples * len(chosen) >= ENOUGH * inputs)
        lowest, highest = (-LEVELS, LEVELS) if self._range.signed else (0, UNSIGNED)
        self._moments.add(rows, (rows / self._range.step).round().clamp(lowest, highest) * self._range.step)

    def _tap(self, values: Array, which: Array, places: Sequence[Array], taps: Sequence[int]) -> Array:
        """What one tap reads (places, c): zeros where it lies in the padding."""
        known = zip(places, self._strides, taps, self._dilations, self._pads, strict=True)
        at = [place * stride + tap * step - pads[0] for place, stride, tap, step, pads in known]
        inside = [(one >= 0) & (one < side) for one, side in zip(at, values.shape[2:], strict=True)]
        near = [one.clip(0, side - 1) for one, side in zip(at, values.shape[2:], strict=True)]
        return values[(which, slice(None), *near)] * np.all(inside, axis=0)[:, None]

    def refit(self, fit: bool = True, cancel: bool = True) -> Refit:
        """The weights and the bias for what was seen.

        `fit` and `cancel` leave out a part, to measure what it gives: the least squares, and the rounding in which
        errors cancel.
        """
        assert self._moments is not None
        own = self._own.flatten(1, 2)
        fitted = self._moments.fitted(own) if fit else own
        steps = steps_for(fitted.reshape(self._own.shape), (2, 3)).expand(*self._own.shape[:3], 1)
        round_off = self._moments.levels if cancel else levels_of
        levels = round_off(fitted, steps.flatten(1, 2))
        drift = self._moments.drift(own, levels * steps.flatten(1, 2)).reshape(self._own.shape[:3]).mean(-1)
        weights = self._weights(levels.reshape(self._own.shape)).contiguous().numpy().astype(np.int8)
        return Refit(weights, _float(steps[:, :, 0]), _float(drift))

    def _matrix(self, weights: Tensor) -> Tensor:
        return weights.reshape(self._groups, len(weights) // self._groups, 1, -1)

    def _weights(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(self._shape)


class _Transposed(Convolution):
    """A transposed convolution whose strides are its sides: each place of its input gives all taps of its outputs."""

    def __init__(self, node: onnx.NodeProto, weights: Array, known: Range) -> None:
        super().__init__(node, weights, {}, known)  # of what it reads, it has one tap
        self._sides = (1,) * len(self._sides)

    def _matrix(self, weights: Tensor) -> Tensor:
        return weights.flatten(2).permute(1, 2, 0)[None]

    def _weights(self, matrix: Tensor) -> Tensor:
        return matrix[0].permute(2, 0, 1).reshape(self._shape)


def _float(values: Tensor) -> Array:
    return values.flatten().numpy().astype(np.float32)
