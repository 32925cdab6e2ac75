"""Calibration samples: inputs on which exported files are judged; real if a data folder is given, else made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.data.samples import Samples, evenly
from medseg.engines.runs import found_in
from medseg.errors import InputError
from medseg.task import Array, Example, Network, Task, run_step, sound
from medseg.tasks import task_with

BACKGROUND, TISSUE, NOISE = 0.08, 0.53, 0.015  # shares of the input range; on HU: lung -840, soft tissue 60, noise 30
# By the number of output axes: crops are small and vary, pictures are large, and a whole volume takes minutes.
_USUAL = {1: 128, 3: 8, 4: 4}


@dataclass(frozen=True)
class Drawn:
    """Inputs (1, *input_shape) float32, their truths if the data has them, and a description of their origin.

    A truth (1, classes, ...) bool is what the network should mark; a classifier's has no entry for its first class, the
    background.
    """

    samples: Sequence[Array]
    truths: Sequence[Array | None]
    origin: str


def usual_samples(network: Network) -> int:
    """The default number of samples on which a network is judged."""
    return _USUAL[len(network.output_shape)]


@dataclass(frozen=True)
class Calibration:
    """Inputs (1, *input_shape) float32, torch's answers to them, and a description of their origin."""

    samples: Sequence[Array]
    references: Sequence[Array]
    origin: str


def calibration(network: Network, torch_infer: Callable[[Array], Array], data: Path | None, n: int) -> Calibration:
    """n samples with torch's answers, from the task's data if a folder is given, else made up.

    Raises EngineError if torch answers with NaN, infinity or a shape that is not the network's.
    """
    known = drawn(network, data, n)
    return Calibration(known.samples, list(map(sound(network, torch_infer), known.samples)), known.origin)


def drawn(network: Network, data: Path | None, n: int) -> Drawn:
    """At most n samples of the task's own data, spread over its patients; without a folder n made-up samples.

    Raises InputError if the folder has no patients or no samples for this network.
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
    task = task_with(network)
    layout = task.known_data("judge exported files by it")
    patients = list(layout.patients(data))
    if not patients:
        raise InputError(f"{data} holds no patients of task {task.name!r}; expected its layout: give another folder")
    training = layout.training.get(network.name)
    if training and training.calibration:
        return training.calibration(data, patients, n)
    chosen = [str(patient) for patient in evenly(np.array(patients), n)]
    samples = training.samples(data, chosen) if training else None
    return [_example(task, network, samples, data, patient) for patient in chosen]


def _example(task: Task, network: Network, samples: Samples | None, data: Path, patient: str) -> Example:
    """One input of a patient, prepared as for training: the middle one of those that show what the task looks for."""
    own = np.flatnonzero(np.array(samples.patients) == patient) if samples else np.zeros(0, int)
    if samples is None or not len(own):
        return _asked(task, network, data, patient), None
    filled = own[samples.foreground[own] > 0]
    places = filled if len(filled) else own
    image, truth = samples[int(places[len(places) // 2])]
    return image[np.newaxis].astype(np.float32), truth[np.newaxis] > 0


def _asked(task: Task, network: Network, data: Path, patient: str) -> Array:
    """The middle one of the network's inputs that the pipeline makes from an unlabelled patient's middle case."""
    cases = task.known_data("judge exported files by it").cases(data, patient)
    wire = next((step.inputs[0] for step in task.pipeline.steps if step.run == network.name), "input")
    tensors, steps = dict(cases[len(cases) // 2].ask()), iter(task.pipeline.steps)
    while wire not in tensors:
        tensors |= run_step(next(steps), tensors, found_in({}))
    inputs = tensors[wire]
    return inputs[len(inputs) // 2][np.newaxis].astype(np.float32)


def _made_up(network: Network, rng: np.random.Generator) -> Array:
    (low, high), shape = network.input_range, network.input_shape
    tissue = (_smooth(rng, shape, 16) > 0.2) | (_smooth(rng, shape, 4) > 1.5)
    share = np.where(tissue, TISSUE, BACKGROUND) + rng.normal(0, NOISE, shape)
    return np.clip(low + share * (high - low), low, high).astype(np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], scale: int) -> Array:
    """A random field that varies over `scale` voxels."""
    coarse = rng.standard_normal([-(-size // scale) + 1 for size in shape])
    return ndimage.zoom(coarse, scale, order=1)[tuple(slice(size) for size in shape)]
