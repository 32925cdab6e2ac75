"""A network's int8 self in PyTorch: its program with int8's rounding before every convolution and matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from medseg.export.quantize import SMALLEST, Range, by_weight
from medseg.task import Array

LEVELS = 127.0  # int8's largest, symmetric
CLIPS = torch.linspace(0.1, 1.0, 46)  # the shares of the largest magnitude that are tried as a range's end
SEEN = 1 << 16  # values of an input, of each sample, by which its range is chosen
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
        return [Range(one.peaks.numpy().copy(), one.step.item()) for one in self.reads]

    def _choose_ranges(self, samples: Sequence[Array]) -> None:
        """Set each channel's peak as seen on the samples, and the step that loses least; rounding begins with that."""
        for read, found in self._seen(samples, _channel_peaks).items():
            peaks = torch.stack(found).amax(0).clamp_min(SMALLEST)
            read.peaks.copy_(torch.ones(()) if read.whole else peaks / peaks.log().mean().exp())
            read.log_step.data = (peaks / read.peaks).amax().div(LEVELS).log()
        for read, found in self._seen(samples, lambda read, x: read.errors(x)).items():
            read.log_step.data += CLIPS[torch.stack(found).sum(0).argmin()].log()
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
    """The rounding of what a product reads: (n, c, ...), or `whole`, where its last axis is the one multiplied."""

    def __init__(self, channels: int, whole: bool) -> None:
        super().__init__()
        self.peaks: torch.Tensor
        self.register_buffer("peaks", torch.ones(channels))
        self.log_step = nn.Parameter(torch.zeros(()))
        self.whole, self.rounds = whole, False

    @property
    def step(self) -> torch.Tensor:
        return self.log_step.exp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _rounded(self._even(x), self.step) if self.rounds else x

    def errors(self, x: torch.Tensor) -> torch.Tensor:
        """The squared errors (clips,) of an input, rounded with each of CLIPS of the step."""
        values = self._even(x).flatten()
        values = values[:: max(1, len(values) // SEEN)]
        return torch.stack([(_rounded(values, self.step * clip) - values).square().mean() for clip in CLIPS])

    def _even(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.whole else x / self.peaks.reshape(-1, *[1] * (x.ndim - 2))


class _Weights(nn.Module):
    """The rounding of a product's weights, multiplied by its input's peaks, with a step for each output channel."""

    def __init__(self, read: _Read, transposed: bool) -> None:
        super().__init__()
        self.read = (read,)  # not a child: it has a place in the graph of its own
        self.kind, self.output = ("ConvTranspose", 1) if transposed else ("Conv", 0)

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        (read,) = self.read
        if not read.rounds:
            return weights
        if not read.whole:
            scale = torch.from_numpy(by_weight(self.kind, weights.shape, read.peaks.numpy()).astype(np.float32))
            weights = weights * scale.reshape(*scale.shape, *[1] * (weights.ndim - 2))
        others = [axis for axis in range(weights.ndim) if axis != self.output]
        return _rounded(weights, weights.detach().abs().amax(others, keepdim=True).clamp_min(LEAST) / LEVELS)


def _rounded(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """x in whole steps, at most LEVELS; gradients pass the rounding by, and reach the step (as in LSQ, 1902.08153)."""
    scaled = (x / step).clamp(-LEVELS, LEVELS)
    return (scaled + (scaled.round() - scaled).detach()) * step


def _channel_peaks(_read: _Read, x: torch.Tensor) -> torch.Tensor:
    return x.abs().amax([axis for axis in range(x.ndim) if axis != 1])


def _put_rounding(module: torch.fx.GraphModule) -> list[_Read]:
    """Let every product of a program read a rounded input and rounded weights; the rounding of each one's input."""
    found = [node for node in module.graph.nodes if _kind(node).startswith(_PRODUCTS) and _is_weight(node.args[1])]
    shared: dict[Any, _Read] = {}  # a matrix product's input has one range, whatever else reads it
    reads = []
    for index, node in enumerate(found):
        data, whole = node.args[0], _kind(node) == "linear"
        read = shared.get(data) or _Read(data.meta["val"].shape[1], whole)
        if whole:
            shared[data] = read
        for place, rounding in enumerate((read, _Weights(read, _is_transposed(node)))):
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
