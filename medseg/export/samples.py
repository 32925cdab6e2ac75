"""Calibration samples: a network's inputs on which exported files are judged, real where a data folder is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.data.samples import Samples
from medseg.errors import InputError
from medseg.task import Array, Network
from medseg.tasks import TASKS, task_named, task_of
from medseg.tasks.luna.crops import CONTEXT, clipped, context_slices

BACKGROUND, TISSUE, NOISE = 0.08, 0.53, 0.015  # shares of the input range; on HU: lung -840, soft tissue 60, noise 30


@dataclass(frozen=True)
class Calibration:
    """Inputs (1, *input_shape) float32, torch's answers to them, and in words where they come from."""

    samples: Sequence[Array]
    references: Sequence[Array]
    origin: str


def calibration(network: Network, torch_infer: Callable[[Array], Array], data: Path | None, n: int) -> Calibration:
    """n samples, from the task's data where a folder is given, else made up, with torch's answers."""
    samples = real(network, data, n) if data else probe(network, n)
    origin = f"{len(samples)} samples from {data}" if data else f"{len(samples)} made-up samples"
    return Calibration(samples, [torch_infer(sample) for sample in samples], origin)


def probe(network: Network, n: int, seed: int = 0) -> list[Array]:
    """n made-up inputs (1, *input_shape) float32: smooth tissue and small blobs on a background, with noise."""
    rng = np.random.default_rng(seed)
    return [_made_up(network, rng)[np.newaxis] for _ in range(n)]


def real(network: Network, data: Path, n: int) -> list[Array]:
    """At most n inputs (1, *input_shape) float32 of the task's own data, spread over its patients.

    Raises InputError where the folder has no patients or no samples for this network.
    """
    task = task_of(network)
    patients = list(task_named(task).patients(data))
    if not patients:
        raise InputError(f"{data} holds no patients of task {task!r}; expected its layout: give another --calibration")
    if task != "luna":
        return [_asked(network, data, patient) for patient in _evenly(np.array(patients), n)]
    return _slices(data, patients, n) if network.name == "luna-segment" else _crops(network, data, patients, n)


def _asked(network: Network, data: Path, patient: str) -> Array:
    """What the pipeline feeds the network for a patient's middle case: one input, the middle one of its batch."""
    task = task_of(network)
    questions = import_module(f"{TASKS[task]}.reader").questions(data, patient)
    heard: list[Array] = []

    def infer(batch: Array) -> Array:
        heard.append(batch)
        return np.zeros((len(batch), *network.output_shape[:1], *batch.shape[2:]), np.float32)

    task_named(task).pipeline(questions[len(questions) // 2], lambda _: infer)
    found = np.concatenate(heard)
    return found[len(found) // 2][np.newaxis].astype(np.float32)


def _crops(network: Network, data: Path, patients: Sequence[str], n: int) -> list[Array]:
    """Crops around candidates, at most half of them nodules where there are others."""
    samples: Samples = import_module(f"{TASKS['luna']}.reader").SAMPLES[network.name](data, patients)
    if not len(samples):
        raise InputError(f"{data} holds no samples for network {network.name!r}; give another --calibration folder")
    order = np.argsort(samples.foreground == 0, kind="stable")
    nodules, others = np.split(order, [int((samples.foreground > 0).sum())])
    first = min(len(nodules), n // 2 if len(others) else n)
    chosen = [*_evenly(nodules, first), *_evenly(others, n - first)]
    return [samples[int(index)][0][np.newaxis].astype(np.float32) for index in chosen]


def _slices(data: Path, patients: Sequence[str], n: int) -> list[Array]:
    """Whole slices with context, evenly over each scan's middle 70 %: as served, not as trained on."""
    found = []
    for patient, count in zip(patients, _shares(n, len(patients)), strict=True):
        hu = task_named("luna").read(data, patient)[0].image
        middles = np.linspace(0.15 * len(hu), 0.85 * len(hu), count).astype(int)
        found += [clipped(context_slices(hu, index, CONTEXT))[np.newaxis] for index in middles]
    return found


def _shares(n: int, parts: int) -> list[int]:
    return [len(part) for part in np.array_split(np.arange(n), parts)]


def _evenly(items: Array, n: int) -> Array:
    return items[np.linspace(0, len(items) - 1, min(n, len(items))).astype(int)]


def _made_up(network: Network, rng: np.random.Generator) -> Array:
    (low, high), shape = network.input_range, network.input_shape
    tissue = (_smooth(rng, shape, 16) > 0.2) | (_smooth(rng, shape, 4) > 1.5)
    share = np.where(tissue, TISSUE, BACKGROUND) + rng.normal(0, NOISE, shape)
    return np.clip(low + share * (high - low), low, high).astype(np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], scale: int) -> Array:
    """A random field that varies over `scale` voxels."""
    coarse = rng.standard_normal([-(-size // scale) + 1 for size in shape])
    return ndimage.zoom(coarse, scale, order=1)[tuple(slice(size) for size in shape)]
