"""Calibration samples: a network's inputs on which exported files are judged, real where a data folder is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.data.samples import Samples
from medseg.data.upright import orientation_of
from medseg.engines.runs import found_in
from medseg.errors import InputError
from medseg.task import Array, Network, run_step, sound
from medseg.tasks import TASKS, task_named, task_of
from medseg.tasks.luna.crops import CONTEXT, clipped, context_slices

Example = tuple[Array, Array | None]  # an input, and its truth where it is known

BACKGROUND, TISSUE, NOISE = 0.08, 0.53, 0.015  # shares of the input range; on HU: lung -840, soft tissue 60, noise 30


@dataclass(frozen=True)
class Drawn:
    """Inputs (1, *input_shape) float32, their truths where the data has one, and in words where they come from.

    A truth (1, classes, ...) bool is what the network's probabilities over 0.5 should be; a classifier's is without its
    first class, the background.
    """

    samples: Sequence[Array]
    truths: Sequence[Array | None]
    origin: str


@dataclass(frozen=True)
class Calibration:
    """Inputs (1, *input_shape) float32, torch's answers to them, and in words where they come from."""

    samples: Sequence[Array]
    references: Sequence[Array]
    origin: str


def calibration(network: Network, torch_infer: Callable[[Array], Array], data: Path | None, n: int) -> Calibration:
    """n samples, from the task's data where a folder is given, else made up, with torch's answers.

    Raises EngineError where torch answers with NaN, infinity or a shape that is not the network's.
    """
    known = drawn(network, data, n)
    return Calibration(known.samples, list(map(sound(network, torch_infer), known.samples)), known.origin)


def drawn(network: Network, data: Path | None, n: int) -> Drawn:
    """At most n samples of the task's own data, spread over its patients; without a folder n made-up ones.

    Raises InputError where the folder has no patients or no samples for this network.
    """
    if data is None:
        return Drawn(probe(network, n), [None] * n, f"{n} made-up samples")
    found = _real(network, data, n)
    samples, truths = [image for image, _ in found], [truth for _, truth in found]
    return Drawn(samples, truths, f"{len(found)} samples from {data}")


def probe(network: Network, n: int, seed: int = 0) -> list[Array]:
    """n made-up inputs (1, *input_shape) float32: smooth tissue and small blobs on a background, with noise."""
    rng = np.random.default_rng(seed)
    return [_made_up(network, rng)[np.newaxis] for _ in range(n)]


def _real(network: Network, data: Path, n: int) -> list[Example]:
    task = task_of(network)
    patients = list(task_named(task).patients(data))
    if not patients:
        raise InputError(f"{data} holds no patients of task {task!r}; expected its layout: give another --calibration")
    if task != "luna":
        return _pictures(network, data, [str(patient) for patient in _evenly(np.array(patients), n)])
    return _slices(data, patients, n) if network.name == "luna-segment" else _crops(network, data, patients, n)


def _pictures(network: Network, data: Path, patients: Sequence[str]) -> list[Example]:
    """One input a patient, as a fit and the pipeline see it: the middle one of those that hold what is looked for."""
    samples: Samples = import_module(f"{TASKS[task_of(network)]}.reader").SAMPLES[network.name](data, patients)
    owners, found = np.array(samples.patients), []
    for patient in patients:
        own = np.flatnonzero(owners == patient)
        filled = own[samples.foreground[own] > 0]
        places = filled if len(filled) else own
        if len(places):
            image, truth = samples[int(places[len(places) // 2])]
            found.append((image[np.newaxis].astype(np.float32), truth[np.newaxis] > 0))
        else:
            found.append((_asked(network, data, patient), None))
    return found


def _asked(network: Network, data: Path, patient: str) -> Array:
    """What the pipeline's steps make of an unlabelled patient's middle case: the middle of the network's inputs."""
    task = task_of(network)
    questions = import_module(f"{TASKS[task]}.reader").questions(data, patient)
    tensors, steps = dict(questions[len(questions) // 2]), iter(task_named(task).pipeline.steps)
    while "input" not in tensors:
        tensors |= run_step(next(steps), tensors, found_in({}))
    inputs = tensors["input"]
    return inputs[len(inputs) // 2][np.newaxis].astype(np.float32)


def _crops(network: Network, data: Path, patients: Sequence[str], n: int) -> list[Example]:
    """Crops around candidates, at most half of them nodules where there are others."""
    samples: Samples = import_module(f"{TASKS['luna']}.reader").SAMPLES[network.name](data, patients)
    if not len(samples):
        raise InputError(f"{data} holds no samples for network {network.name!r}; give another --calibration folder")
    order = np.argsort(samples.foreground == 0, kind="stable")
    nodules, others = np.split(order, [int((samples.foreground > 0).sum())])
    first = min(len(nodules), n // 2 if len(others) else n)
    chosen = [samples[int(index)] for index in (*_evenly(nodules, first), *_evenly(others, n - first))]
    return [(image[np.newaxis].astype(np.float32), np.array([[kind > 0]])) for image, kind in chosen]


def _slices(data: Path, patients: Sequence[str], n: int) -> list[Example]:
    """Whole slices with context, as served, not as trained on: half of them through nodules where there are any.

    The others lie evenly over each scan's middle 70 %.
    """
    found: list[Example] = []
    for patient, count in zip(patients, _shares(n, len(patients)), strict=True):
        case = task_named("luna").read(data, patient)[0]
        assert case.geometry, "a CT says where it lies"
        turn = orientation_of(case.geometry)
        image = turn.seen(case.image)
        truth = np.zeros(image.shape, bool) if case.mask is None else turn.seen(case.mask) > 0
        through = _evenly(np.flatnonzero(truth.any(axis=(1, 2))), count // 2)
        even = np.linspace(0.15 * len(truth), 0.85 * len(truth), count - len(through)).astype(int)
        for index in (*through, *even):
            layers = clipped(context_slices(image, index, CONTEXT))[np.newaxis]
            found.append((layers, None if case.mask is None else truth[index][np.newaxis, np.newaxis]))
    return found


def _shares(n: int, parts: int) -> list[int]:
    return [len(part) for part in np.array_split(np.arange(n), parts)]


def _evenly(items: Array, n: int) -> Array:
    return items[np.linspace(0, len(items) - 1, min(n, len(items))).astype(int)] if len(items) else items


def _made_up(network: Network, rng: np.random.Generator) -> Array:
    (low, high), shape = network.input_range, network.input_shape
    tissue = (_smooth(rng, shape, 16) > 0.2) | (_smooth(rng, shape, 4) > 1.5)
    share = np.where(tissue, TISSUE, BACKGROUND) + rng.normal(0, NOISE, shape)
    return np.clip(low + share * (high - low), low, high).astype(np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], scale: int) -> Array:
    """A random field that varies over `scale` voxels."""
    coarse = rng.standard_normal([-(-size // scale) + 1 for size in shape])
    return ndimage.zoom(coarse, scale, order=1)[tuple(slice(size) for size in shape)]
