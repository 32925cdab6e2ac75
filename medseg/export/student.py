"""A network's int8 self in PyTorch: its program with int8's rounding before every convolution and matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.export.quantize import LEVELS, SMALLEST, Range, by_weight, has_one_range
from medseg.task import Array

CLIPS = torch.linspace(0.1, 1.0, 46)  # the shares of a channel's largest magnitude that are tried as its range
SEEN = 1 << 16  # values of an input, of each sample, from which its ranges are chosen
FEWEST = 1 << 10  # values of a channel, of those
LEAST = 1e-12  # a step is never zero
_PRODUCTS = ("conv", "linear")  # begin the names of aten's operators that have weights


class Student(nn.Module):
    """A program that rounds as its int8 file will: (n, *input_shape) float32 -> logits; its parameters can be fitted.

    Products are counted in the order in which the program computes them, which is that of its ONNX graph.
    """

    def __init__(self, program: torch.export.ExportedProgram, samples: Sequence[Array]) -> None:
        super().__init__()
        self.network: Any = program.module(check_guards=False)
        self.reads = _put_rounding(self.network)  # one for each product; those of one tensor may share theirs
        self._choose_ranges(samples)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The logits of a batch."""
        answer: torch.Tensor = self.network(batch)
        return answer

    def ranges(self) -> list[Range]:
        """Each product's range, in order."""
        return [read.range() for read in self.reads]

    def _choose_ranges(self, samples: Sequence[Array]) -> None:
        """Set the ranges that lose least on the samples, up to the largest magnitudes there; rounding begins."""
        for read, peaks in self._seen(samples, _Read.peaks).items():
            read.log_ranges.data = torch.stack(peaks).amax(0).clamp_min(SMALLEST).log()
        for read, errors in self._seen(samples, _Read.errors).items():
            read.log_ranges.data += CLIPS[torch.stack(errors).sum(0).argmin(0)].log()
            read.rounds = True

    def _seen(
        self, samples: Sequence[Array], look: Callable[[_Read, torch.Tensor], torch.Tensor]
    ) -> dict[_Read, list[torch.Tensor]]:
        """What a look at each product's input gives, sample by sample."""
        seen: dict[_Read, list[torch.Tensor]] = {read: [] for read in self.reads}

        def looking(into: list[torch.Tensor]) -> Callable[[Any, Any], None]:
            return lambda read, inputs: into.append(look(read, inputs[0]))

        hooks = [read.register_forward_pre_hook(looking(into)) for read, into in seen.items()]
        with torch.no_grad():
            for sample in samples:
                self(torch.from_numpy(sample))
        for hook in hooks:
            hook.remove()
        return seen


class _Read(nn.Module):
    """The rounding of what a product reads, with a range for each channel: (n, c, ...) -> the same, divided by ranges.

    What has one range (`whole`; see `has_one_range`) is not left divided.
    """

    def __init__(self, channels: int, whole: bool) -> None:
        super().__init__()
        self.log_ranges = nn.Parameter(torch.zeros(1 if whole else channels))
        self.whole, self.rounds = whole, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.rounds:
            return x
        ranges = self.log_ranges.exp().reshape(-1, *[1] * (0 if self.whole else x.ndim - 2))
        even = _rounded(x / ranges, 1 / LEVELS)
        return even * ranges if self.whole else even

    def range(self) -> Range:
        """The ranges as an int8 file holds them."""
        ranges = self.log_ranges.detach().exp().numpy()
        return Range(np.ones_like(ranges), float(ranges[0]) / LEVELS) if self.whole else Range(ranges, 1 / LEVELS)

    def peaks(self, x: torch.Tensor) -> torch.Tensor:
        """The largest magnitude (c,) of each channel that has a range."""
        return self._by_channel(x).abs().amax(1)

    def errors(self, x: torch.Tensor) -> torch.Tensor:
        """The mean squared errors (clips, c) of the channels, if only such a share of the present ranges is one."""
        values, ranges = self._by_channel(x), self.log_ranges.exp().unsqueeze(1)
        values = values[:, :: max(1, values.shape[1] // max(FEWEST, SEEN // len(values)))] / ranges
        errors = [(_rounded(values / clip, 1 / LEVELS) * clip - values).square().mean(1) for clip in CLIPS]
        return torch.stack(errors)

    def _by_channel(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, -1) if self.whole else x.movedim(1, 0).flatten(1)


class _Weights(nn.Module):
    """The rounding of a product's weights, multiplied by its input's ranges, with a step for each output channel."""

    def __init__(self, read: _Read, transposed: bool) -> None:
        super().__init__()
        self.read = (read,)  # not a child: it has a place in the graph of its own
        self.kind, self.output = ("ConvTranspose", 1) if transposed else ("Conv", 0)

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        (read,) = self.read
        if not read.rounds:
            return weights
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
