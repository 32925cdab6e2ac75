"""Setting: where a run of the kit computes, its data and weights, and where its files go."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.engines.gpu import cuda_version, gpu_name
from medseg.run import Run
from medseg.task import Network
from medseg.tasks import task_named

if TYPE_CHECKING:
    from torch import nn

DATA = {"luna": "luna", "gi-tract": "gi_tract", "brain-lgg": "brain_lgg/kaggle_3m", "stas": "stas"}
MANY = ("brain-lgg", "stas")  # tasks whose real data has enough patients for fitting and scoring
PUBLISHED = {"luna-segment": "seg_*.state", "luna-nodule": "cls_*.state"}
SMALL = {"luna-nodule": {"features": 2}, "brain-lgg": {"features": 2}}  # networks of a rehearsal


@dataclass(frozen=True)
class Setting:
    """One run of the kit. A rehearsal computes everything on the CPU, at the smallest size."""

    out: Path  # results: a JSON file for each tier
    work: Path  # runs, phantoms, plans
    rehearsal: bool = False
    shared: Path | None = None  # a folder with `data` and `weights`; None: made-up data and random weights
    runs: Path | None = None  # a folder of fitted runs by network name, as benchmarks/by_heart.py makes
    python8: Path | None = None  # a Python that has TensorRT 8, which has no package for this Python

    @property
    def device(self) -> str:
        """The device's name in torch."""
        return "cpu" if self.rehearsal else "cuda"

    @property
    def seconds(self) -> float:
        """For how many seconds each time is measured, at least."""
        return 0.02 if self.rehearsal else 0.5


def missing() -> str:
    """What the kit lacks on this machine, in one sentence; "" if it can run."""
    if gpu_name():
        return ""
    if cuda_version():
        return "NVIDIA's driver is here, but it sees no GPU; expected one: look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    return "there is no NVIDIA driver here, and so no GPU; expected a machine with both, for make gpu"


def data_of(setting: Setting, task: str, to_fit: bool = False) -> Path:
    """A folder in the task's layout: real data if there is any (with `to_fit`: enough), else made-up patients."""
    real = setting.shared / "data" / DATA[task] if setting.shared else None
    if real and real.is_dir() and (task in MANY or not to_fit):
        return real
    made = setting.work / "phantoms" / task
    if not made.is_dir():
        task_named(task).known_data("make phantoms").phantom(made, 2 if setting.rehearsal else 6, 0)
    return made


def run_of(setting: Setting, network: Network) -> Run:
    """The network's run, made once: with fitted weights, else published ones, else random ones."""
    from medseg.train.weights import import_weights, save_weights

    folder = setting.work / "runs" / network.name
    if (folder / "manifest.json").is_file():
        return Run(folder)
    if setting.runs and (kept := setting.runs / network.name).is_dir():
        shutil.copytree(kept, folder)
        return Run(folder)
    if found := _published(setting, network):
        return import_weights(network, found, folder, {})
    options = options_of(setting, network)
    run = Run.create(folder, network.name, options, {"kind": "random", "seed": 0})
    save_weights(run, seeded(network, options))
    return run


def options_of(setting: Setting, network: Network) -> dict[str, Any]:
    """The network's build options: the published ones, or a very small network in a rehearsal."""
    return {**network.options, **(SMALL.get(network.name, {}) if setting.rehearsal else {})}


def seeded(network: Network, options: dict[str, Any]) -> nn.Module:
    """The network with random weights, which are the same every time."""
    import torch

    torch.manual_seed(0)
    return network.build(**options)


def _published(setting: Setting, network: Network) -> Path | None:
    if setting.rehearsal or not setting.shared or network.name not in PUBLISHED:
        return None
    return next(iter(sorted((setting.shared / "weights" / "luna").glob(PUBLISHED[network.name]))), None)
