"""Small networks of known behaviour for the tests of the export."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.run import WEIGHTS, Run
from medseg.task import Network, Recipe

HU = (-1000.0, 1000.0)


def network(build: Any, shape: tuple[int, ...] = (1, 96, 96), low_high: tuple[float, float] = HU) -> Network:
    recipe = Recipe(epochs=1, batch_size=1, lr=1.0)
    return Network(
        "made", shape, (1, *shape[1:]), ("thing",), recipe, build, free_axes={2: 4, 3: 4}, input_range=low_high
    )


def run_of(module: nn.Module, folder: Path) -> Run:
    run = Run.create(folder, "made", {}, {"kind": "test"})
    with run.adding(WEIGHTS, {}) as path:
        torch.save(module.state_dict(), path)
    return run


class Hostile(nn.Module):
    """Raw HU into a BatchNorm whose variance float16 cannot hold, as in LUNA's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.convolutions = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
        with torch.no_grad():
            self.norm.running_mean.fill_(-500.0)
            self.norm.running_var.fill_(2.2e5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolutions(self.norm(x))


class Hopeless(nn.Module):
    """All its weights are beyond float16, so nothing of it can be half."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 1, 1)
        with torch.no_grad():
            self.first.weight.fill_(1e6)
            self.second.weight.fill_(1e-7)
            self.second.weight[0, 0] = 2e5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Overflowing(nn.Module):
    """Constants fit float16, but the values in the middle do not."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv2d(1, 8, 1, bias=False)
        self.down = nn.Conv2d(8, 8, 1, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 3, padding=1))
        with torch.no_grad():
            self.up.weight.fill_(1000.0)
            self.down.weight.fill_(1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.down(self.up(x)) + 0.001 * x)
