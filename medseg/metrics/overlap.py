"""How much two masks overlap: Dice, IoU (Jaccard), precision, recall. Any shape; whatever is not 0 is foreground.

Empty masks: where both are empty, there was nothing to find and nothing was found, and every score is 1. Where just one
is, Dice and IoU are 0. Precision of an empty answer and recall of an empty truth, with the other not empty, are 0 too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.metrics.shape import check_shapes
from medseg.task import Array


@dataclass(frozen=True)
class Overlap:
    """Pixels that are in both masks, in the answer alone, and in the truth alone."""

    both: int
    answer_alone: int
    truth_alone: int

    @property
    def dice(self) -> float:
        """Dice, the same as F1: 0 to 1."""
        return _share(2 * self.both, 2 * self.both + self.answer_alone + self.truth_alone)

    @property
    def iou(self) -> float:
        """Intersection over union, the same as Jaccard's index: 0 to 1."""
        return _share(self.both, self.both + self.answer_alone + self.truth_alone)

    @property
    def precision(self) -> float:
        """The share of the answer that is right."""
        return self._of(self.answer_alone)

    @property
    def recall(self) -> float:
        """The share of the truth that was found."""
        return self._of(self.truth_alone)

    def _of(self, missed: int) -> float:
        if self.both + missed == 0:
            return float(self.answer_alone + self.truth_alone == 0)
        return self.both / (self.both + missed)


def overlap(answer: Array, truth: Array) -> Overlap:
    """The overlap of an answer with the truth. Raises InputError where their shapes differ."""
    check_shapes(answer, truth)
    found, there = answer != 0, truth != 0
    both, answered, true = (int(np.count_nonzero(mask)) for mask in (found & there, found, there))
    return Overlap(both, answered - both, true - both)


def dice(answer: Array, truth: Array) -> float:
    """Dice of two masks of one shape: 0 to 1, and 1 where both are empty."""
    return overlap(answer, truth).dice


def iou(answer: Array, truth: Array) -> float:
    """Intersection over union of two masks of one shape: 0 to 1, and 1 where both are empty."""
    return overlap(answer, truth).iou


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
