"""Small networks with the kinds of products that become int8, their samples and programs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from torch import nn

from medseg.export.evening import channel_peaks
from medseg.export.graph import onnx_from_program, torch_infer, trace
from medseg.export.samples import Calibration, Drawn
from medseg.export.signs import Bound
from medseg.export.ways import Way, evened
from medseg.task import Array, Network
from tests.export.made import network


class Planes(nn.Module):
    """Dense, depthwise and transposed convolutions; norms behind a convolution and behind a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.BatchNorm2d(8))
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.last = nn.Conv2d(12, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.down(x / 1000)
        return self.last(torch.cat([wide, self.up(self.deep(nn.functional.max_pool2d(wide, 2)))], 1))


class Solid(nn.Module):
    """The same of three axes, grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 8, 3, padding=1, stride=2)
        self.up = nn.ConvTranspose3d(8, 4, 2, stride=2, groups=2)
        self.last = nn.Conv3d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.up(nn.functional.leaky_relu(self.down(x / 1000))))


class Deciding(nn.Module):
    """Matrix products, two of which read the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, 4, 3, stride=2)
        self.head = nn.Linear(4, 16)
        self.one, self.other = nn.Linear(16, 2), nn.Linear(16, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.head(self.look(x / 1000).relu().mean((2, 3))).relu()
        return self.one(pooled) + 0.5 * self.other(pooled)


class Squeezed(nn.Module):
    """Squeeze-and-excite: convolutions of one pixel, behind an activation, weigh the channels of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, 16, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.last = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = nn.functional.silu(self.look(x / 1000))
        weight = self.excite(nn.functional.silu(self.squeeze(seen.mean((2, 3), keepdim=True)))).sigmoid()
        return self.last(seen * weight)


class Merged(nn.Module):
    """A feature pyramid: what a convolution reads is a sum over a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.rough = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, stride=2), nn.GroupNorm(4, 16), nn.ReLU())
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rough = nn.functional.interpolate(self.rough(x / 1000), scale_factor=2, mode="bilinear")
        return self.last(torch.stack([self.fine(x / 1000), rough]).sum(0))


CHOOSING = {"output_shape": (2,), "classes": ("no", "yes"), "free_axes": {}}
KINDS = {
    "planes": network(Planes),
    "solid": replace(network(Solid, (1, 16, 32, 32)), free_axes={}),
    "merged": network(Merged),
    "squeezed": network(Squeezed),
    "deciding": replace(network(Deciding, (1, 48, 48)), **CHOOSING),
}


def samples_of(made: Network, n: int = 8) -> list[Array]:
    """Inputs (1, *input_shape) of noise, the same ones each time."""
    draw = np.random.default_rng(0)
    return [draw.normal(0, 600, (1, *made.input_shape)).astype(np.float32) for _ in range(n)]


def traced(made: Network) -> torch.export.ExportedProgram:
    """The program of a network with random weights, the same ones each time."""
    torch.manual_seed(0)
    module = made.build().eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_var.uniform_(0.1, 4)
    return trace(module, made)


@dataclass(frozen=True)
class Made:
    """A network of a kind with its graph, samples and torch's answers."""

    network: Network
    model: onnx.ModelProto
    known: Calibration

    @property
    def drawn(self) -> Drawn:
        return Drawn(self.known.samples, [], "its samples")


def made_of(kind: Network) -> Made:
    program, samples = traced(kind), samples_of(kind)
    known = Calibration(samples, list(map(torch_infer(program), samples)), "made")
    return Made(kind, onnx_from_program(program, kind), known)


def evened_ways(made: Made, bounds: Mapping[str, Bound] | None = None) -> list[Way]:
    peaks = channel_peaks(made.model, made.drawn.samples, bounds)
    return evened(made.model, peaks, made.drawn.origin, bounds)
