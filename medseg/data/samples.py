"""Samples: what a fit draws from, one picture or crop and its target at a time, not yet augmented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.task import Array

Sample = tuple[Array, Any]  # image (c, h, w) or (c, d, h, w) float32; mask (classes, h, w) uint8, or a class as int


@dataclass(frozen=True)
class Samples:
    """A sequence of (image, target) by index, with what samplers weigh them by."""

    load: Callable[[int], Sample]  # picklable, so that loader processes can have it
    patients: tuple[str, ...]  # each sample's patient
    foreground: Array  # (n,) float64: each target's foreground pixels, or its class where the target is a class
    # By index, for a loader that decodes by itself: the picture's file, and the mask (classes, h, w) on its own grid.
    encoded: Callable[[int], tuple[bytes, Array]] | None = None

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.load(index % len(self))


def balanced(samples: Samples) -> Array:
    """Weights (n,) that draw every class equally often."""
    _, which, counts = np.unique(samples.foreground, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[which])


def evenly(items: Array, n: int) -> Array:
    """At most n of the items, at even distances."""
    return items[np.linspace(0, len(items) - 1, min(n, len(items))).astype(int)] if len(items) else items


def shares(n: int, parts: int) -> list[int]:
    """n in so many parts, as even as they can be."""
    return [len(part) for part in np.array_split(np.arange(n), parts)]


def batches_of(order: Sequence[int], size: int) -> list[list[int]]:
    """Indices in batches of this size, the last one smaller.

    A rest of one joins the batch before it: a batch norm over pooled features cannot learn from one sample.
    """
    batches = [list(order[first : first + size]) for first in range(0, len(order), size)]
    if len(batches) > 1 and size > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] += last
    return batches
