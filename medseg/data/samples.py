"""Training samples: each is a picture or crop with its target, not yet augmented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.task import Array

Sample = tuple[Array, Any]  # image (c, h, w) or (c, d, h, w) float32; mask (classes, h, w) uint8, or a class as int


@dataclass(frozen=True)
class Samples:
    """A sequence of (image, target) by index, with the numbers that samplers use as weights."""

    load: Callable[[int], Sample]  # must be picklable, for loader processes
    patients: tuple[str, ...]  # each sample's patient
    foreground: Array  # (n,) float64: each target's foreground pixels, or its class where the target is a class
    # For a loader that decodes by itself: by index, the bytes of the picture's file, and its mask (classes, h, w) on
    # the picture's own grid.
    encoded: Callable[[int], tuple[bytes, Array]] | None = None

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.load(index % len(self))


def balanced(samples: Samples) -> Array:
    """Weights (n,) with which every class is drawn equally often; samples with the same `foreground` are a class."""
    _, which, counts = np.unique(samples.foreground, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[which])


def evenly(items: Array, n: int) -> Array:
    """At most n of the items, at even distances."""
    return items[np.linspace(0, len(items) - 1, min(n, len(items))).astype(int)] if len(items) else items


def shares(n: int, parts: int) -> list[int]:
    """Whole numbers that add up to n, one per part, as equal as possible."""
    return [len(part) for part in np.array_split(np.arange(n), parts)]


def batches_of(order: Sequence[int], size: int) -> list[list[int]]:
    """Indices in batches of this size; the last one may be smaller.

    A single leftover index joins the batch before it, because batch norm over pooled features needs two samples.
    """
    batches = [list(order[first : first + size]) for first in range(0, len(order), size)]
    if len(batches) > 1 and size > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] += last
    return batches
