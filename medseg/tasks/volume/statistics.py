"""Statistics of labels: each class's voxels, volume and mean intensities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medseg.description import Class, Description
from medseg.task import Array

_FIXED = ("class", "value", "voxels", "volume_ml")


def columns(description: Description) -> tuple[str, ...]:
    """The names of a record's entries."""
    return (*_FIXED, *(f"mean_{channel.name}" for channel in description.channels))


def statistics(
    description: Description, mask: Array, image: Array, spacing_mm: Sequence[float]
) -> list[dict[str, Any]]:
    """A record for each class, see `columns`; means are of the image (channels, z, y, x), None where it is empty."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    most = int(mask.max(initial=0)) + 1
    # One slice at a time: indices and float64 values of a whole CT would be many times as large as the CT.
    counts = np.sum([np.bincount(part.ravel(), minlength=most) for part in mask], axis=0)
    sums = [
        np.sum([np.bincount(part.ravel(), values.ravel(), most) for part, values in zip(mask, channel, strict=True)], 0)
        for channel in image
    ]
    return [
        {
            "class": one.name,
            "value": one.value if one.value is not None else "+".join(map(str, one.region)),
            "voxels": (voxels := int(sum(counts[value] for value in values_of(one) if value < most))),
            "volume_ml": round(voxels * voxel_ml, 6),
            **dict(zip(columns(description)[len(_FIXED) :], _means(one, voxels, sums), strict=True)),
        }
        for one in description.classes
    ]


def _means(one: Class, voxels: int, sums: Sequence[Array]) -> Iterator[float | None]:
    for total in sums:
        inside = float(sum(total[value] for value in values_of(one) if value < len(total)))
        yield round(inside / voxels, 6) if voxels else None


def values_of(one: Class) -> tuple[int, ...]:
    """The mask's values that a class has."""
    return one.region if one.value is None else (one.value,)
