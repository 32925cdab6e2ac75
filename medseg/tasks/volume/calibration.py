"""Tiles of real cases, as the network gets them, for judging exported files and calibrating INT8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medseg.data.samples import evenly, shares
from medseg.description import Description
from medseg.task import Array, Case, Example
from medseg.tasks.volume import corners
from medseg.tasks.volume.plan import Plan
from medseg.tasks.volume.prepare import Frame, prepared, turned
from medseg.tasks.volume.raw import entries
from medseg.tasks.volume.reader import read


def tiles(description: Description, plan: Plan, directory: Path, patients: Sequence[str], n: int) -> list[Example]:
    """At most n tiles (1, channels, *patch) float32 of these cases, about voxels of each class, else their middles."""
    known = entries(directory)
    labelled = [one for one in patients if known[one].labels] or list(patients)
    chosen = [str(one) for one in evenly(np.array(labelled), n)]
    found: list[Example] = []
    for patient, count in zip(chosen, shares(n, len(chosen)), strict=True):
        (case,) = read(description, directory, patient)
        found += [(tile[np.newaxis], None) for tile in _of_case(case, plan, count)]
    return found


def _of_case(case: Case, plan: Plan, count: int) -> Iterator[Array]:
    """Tiles (channels, *patch) of one case."""
    assert case.geometry is not None, "a volume lies somewhere"
    labels = case.mask if case.mask is not None else np.zeros(case.image.shape[1:], np.uint8)
    prepare = corners.prepared if plan.numerics == "monai" else prepared
    # An earlier stage's answer is close to the truth; without truth, an empty answer is used.
    image, frame = prepare(case.image, case.geometry, plan, labels if plan.previous else None)
    seen = turned(labels[np.newaxis], case.geometry, plan)[0]
    for place in _places(seen, count):
        yield _tile(image, _on_grid(place, image.shape[1:], frame, plan), plan)


def _places(labels: Array, count: int) -> Array:
    """Voxels (n, 3), spread evenly over the classes and within each class; one in the middle if there is no class."""
    inside = np.argwhere(labels)
    if not len(inside):
        return np.array(labels.shape)[np.newaxis] // 2
    values = labels[tuple(inside.T)]
    classes = evenly(np.unique(values), count)
    parts = zip(classes, shares(count, len(classes)), strict=True)
    return np.concatenate([_spread(inside[values == value], part) for value, part in parts])


def _spread(places: Array, count: int) -> Array:
    """This many of the places, not from the ends, where there is little of a class."""
    return places[((np.arange(count) + 0.5) / count * len(places)).astype(int)]


def _on_grid(place: Array, shape: Sequence[int], frame: Frame, plan: Plan) -> Array:
    """Where a voxel of the turned image lies on the network's grid."""
    if plan.numerics == "monai":
        return place * np.array(corners.size(frame)) / frame.shape - frame.start
    return (place - [part.start for part in frame.box]) * np.array(shape) / frame.size


def _tile(image: Array, place: Array, plan: Plan) -> Array:
    """The patch around a place, inside the image; padded with zeros if the image is smaller, as in inference."""
    patch = plan.window.patch
    if plan.flat:
        image, place = image[:, int(np.clip(place[0], 0, image.shape[1] - 1))], place[1:]
    sizes = image.shape[1:]
    starts = [
        int(np.clip(at - tile // 2, 0, max(0, size - tile))) for at, tile, size in zip(place, patch, sizes, strict=True)
    ]
    cut = image[(slice(None), *(slice(start, start + tile) for start, tile in zip(starts, patch, strict=True)))]
    missing = [tile - size for tile, size in zip(patch, cut.shape[1:], strict=True)]
    return np.pad(cut, [(0, 0), *((more // 2, more - more // 2) for more in missing)]).astype(np.float32)
