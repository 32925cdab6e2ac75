"""Real inputs of LUNA's networks, with their truths, on which exported files are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medseg.data.samples import Samples, evenly, shares
from medseg.data.upright import orientation_of
from medseg.errors import InputError
from medseg.task import Example
from medseg.tasks.luna.crops import CONTEXT, clipped, context_slices
from medseg.tasks.luna.reader import read


def crops(
    samples_of: Callable[[Path, Sequence[str]], Samples],
) -> Callable[[Path, Sequence[str], int], list[Example]]:
    """What draws crops around candidates, at most half of them nodules where there are others."""

    def drawn(data: Path, patients: Sequence[str], n: int) -> list[Example]:
        samples = samples_of(data, patients)
        if not len(samples):
            raise InputError(f"{data} holds no candidates of its {len(patients)} scans; give another folder")
        order = np.argsort(samples.foreground == 0, kind="stable")
        nodules, others = np.split(order, [int((samples.foreground > 0).sum())])
        first = min(len(nodules), n // 2 if len(others) else n)
        chosen = [samples[int(index)] for index in (*evenly(nodules, first), *evenly(others, n - first))]
        return [(image[np.newaxis].astype(np.float32), np.array([[kind > 0]])) for image, kind in chosen]

    return drawn


def slices(data: Path, patients: Sequence[str], n: int) -> list[Example]:
    """Whole slices with context, as served, not as trained on: half of them through nodules where there are any.

    The others lie evenly over each scan's middle 70 %.
    """
    found: list[Example] = []
    for patient, count in zip(patients, shares(n, len(patients)), strict=True):
        case = read(data, patient)[0]
        assert case.geometry, "a CT says where it lies"
        turn = orientation_of(case.geometry)
        image = turn.seen(case.image)
        truth = np.zeros(image.shape, bool) if case.mask is None else turn.seen(case.mask) > 0
        through = evenly(np.flatnonzero(truth.any(axis=(1, 2))), count // 2)
        even = np.linspace(0.15 * len(truth), 0.85 * len(truth), count - len(through)).astype(int)
        for index in (*through, *even):
            layers = clipped(context_slices(image, index, CONTEXT))[np.newaxis]
            found.append((layers, None if case.mask is None else truth[index][np.newaxis, np.newaxis]))
    return found
