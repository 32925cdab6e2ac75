"""A network's int8 self in PyTorch: its program with int8's rounding before every convolution and matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.errors import ExportError
from medseg.export.evening import LEVELS, Range, by_weight, has_one_range

LEAST = 1e-12  # a step is never zero
_PRODUCTS = ("conv", "linear")  # begin the names of aten's operators that have weights


class Student(nn.Module):
    """A program that rounds as its int8 file will: (n, *input_shape) float32 -> logits; its parameters can be fitted.

    It begins with the ranges of the products of the program's ONNX graph, which has them in the same order. Raises
    ExportError where it has not.
    """

    def __init__(self, program: torch.export.ExportedProgram, ranges: Sequence[Range]) -> None:
        super().__init__()
        self.network: Any = program.module(check_guards=False)
        self.reads = _put_rounding(self.network)  # one for each product; those of one tensor may share theirs
        if [read.log_ranges.shape for read in self.reads] != [one.steps.shape for one in ranges]:
            raise ExportError(
                f"the ONNX graph has {len(ranges)} products with weights where its program has {len(self.reads)}, or in"
                " another order; expected the same ones: export without --distill"
            )
        for read, one in zip(self.reads, ranges, strict=True):
            read.begin(one)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The logits of a batch."""
        answer: torch.Tensor = self.network(batch)
        return answer

    def ranges(self) -> list[Range]:
        """Each product's range, in order."""
        return [read.range() for read in self.reads]


class _Read(nn.Module):
    """The rounding of what a product reads, with a range for each channel: (n, c, ...) -> the same, divided by ranges.

    What has one range (`whole`; see `has_one_range`) is not left divided.
    """

    def __init__(self, channels: int, whole: bool) -> None:
        super().__init__()
        self.log_ranges = nn.Parameter(torch.zeros(1 if whole else channels))
        self.whole = whole

    def begin(self, one: Range) -> None:
        """Set the ranges that an int8 file would have."""
        self.log_ranges.data = torch.from_numpy(one.steps * np.float32(LEVELS)).float().log()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ranges = self.log_ranges.exp().reshape(-1, *[1] * (0 if self.whole else x.ndim - 2))
        even = _rounded(x / ranges, 1 / LEVELS)
        return even * ranges if self.whole else even

    def range(self) -> Range:
        """The ranges as an int8 file holds them."""
        return Range(self.log_ranges.detach().exp().numpy() / np.float32(LEVELS))


class _Weights(nn.Module):
    """The rounding of a product's weights, multiplied by its input's ranges, with a step for each output channel."""

    def __init__(self, read: _Read, transposed: bool) -> None:
        super().__init__()
        self.read = (read,)  # not a child: it has a place in the graph of its own
        self.kind, self.output = ("ConvTranspose", 1) if transposed else ("Conv", 0)

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        (read,) = self.read
        if not read.whole:
            scale = by_weight(self.kind, weights.shape, read.log_ranges.exp())
            weights = weights * scale.reshape(*scale.shape, *[1] * (weights.ndim - 2))
        others = [axis for axis in range(weights.ndim) if axis != self.output]
        return _rounded(weights, weights.detach().abs().amax(others, keepdim=True).clamp_min(LEAST) / LEVELS)


def _rounded(x: torch.Tensor, step: torch.Tensor | float) -> torch.Tensor:
    """x in whole steps, at most LEVELS of them; gradients pass the rounding unchanged, and stop where it clips."""
    scaled = (x / step).clamp(-LEVELS, LEVELS)
    return (scaled + (scaled.round() - scaled).detach()) * step


def _put_rounding(module: torch.fx.GraphModule) -> list[_Read]:
    """Let every product of a program read a rounded input and rounded weights; the rounding of each one's input."""
    found = [node for node in module.graph.nodes if _kind(node).startswith(_PRODUCTS) and _is_weight(node.args[1])]
    shared: dict[Any, _Read] = {}  # an input that has one range has the same for whatever else reads it so
    reads = []
    for index, node in enumerate(found):
        data, transposed = node.args[0], _is_transposed(node)
        kind = "Gemm" if _kind(node) == "linear" else "ConvTranspose" if transposed else "Conv"
        shape = data.meta["val"].shape
        whole = has_one_range(kind, shape)
        read = (shared.get(data) if whole else None) or _Read(shape[1], whole)
        if whole:
            shared[data] = read
        for place, rounding in enumerate((read, _Weights(read, transposed))):
            name = f"_rounding_{index}_{place}"
            module.add_submodule(name, rounding)
            with module.graph.inserting_before(node):
                node.update_arg(place, module.graph.call_module(name, (node.args[place],)))
        reads.append(read)
    module.recompile()
    return reads


def _kind(node: torch.fx.Node) -> str:
    """Aten's name for what a node does, such as "conv2d"; "" of what is no operator."""
    return str(node.target).removeprefix("aten.").split(".")[0] if node.op == "call_function" else ""


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.fx.Node) and value.op == "get_attr"


def _is_transposed(node: torch.fx.Node) -> bool:
    return "transpose" in _kind(node) or (_kind(node) == "convolution" and bool(node.args[6]))
