"""The validation scores at the end of each epoch; every score is summed over all processes."""

from __future__ import annotations

import torch
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    BinarySpecificity,
)

LEAST = 1e-7  # the smallest probability that a loss is taken of, about float32's step below 1


class PatientDice(Metric):
    """Dice of each patient and class over all pixels of that patient's samples, then the mean.

    A class that is in neither truth nor answer scores 1. `jaccard` uses intersection over union instead.
    """

    counts: torch.Tensor  # (patients, classes, 2): pixels in both, pixels in truth plus pixels in answer

    def __init__(self, patients: int, classes: int, jaccard: bool = False) -> None:
        super().__init__()
        self.jaccard = jaccard
        self.add_state("counts", torch.zeros(patients, classes, 2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: torch.Tensor, target: torch.Tensor, patients: torch.Tensor) -> None:
        """Add logits and masks, both (n, classes, h, w), of samples of these patients (n,)."""
        found, truth = preds > 0, target > 0
        both = (found & truth).sum((2, 3))
        either = found.sum((2, 3)) + truth.sum((2, 3))
        self.counts.index_add_(0, patients, torch.stack([both, either], 2).to(self.counts))

    def compute(self) -> torch.Tensor:
        """The mean over the patients that were seen and the classes."""
        both, either = self.counts.unbind(2)
        score = both / (either - both) if self.jaccard else 2 * both / either
        return torch.where(either > 0, score, 1).mean().float()


class ClassLoss(Metric):
    """The mean cross entropy of the samples of one of two classes; 0 where there was none."""

    total: torch.Tensor
    count: torch.Tensor

    def __init__(self, of: int) -> None:
        super().__init__()
        self.of = of
        for name in ("total", "count"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        """Add the second class's probabilities (n,) and the true classes (n,)."""
        own = target == self.of
        right = preds[own] if self.of else 1 - preds[own]
        self.total -= right.clamp_min(LEAST).log().sum()
        self.count += own.sum()

    def compute(self) -> torch.Tensor:
        """The mean over the samples of the class that were seen."""
        return (self.total / self.count.clamp_min(1)).float()


def scores_for(mask: bool, patients: int, classes: int) -> MetricCollection:
    """The validation scores of a network that answers with masks, or with one of two classes."""
    if mask:
        scores: dict[str, Metric | MetricCollection] = {
            "dice": PatientDice(patients, classes),
            "jaccard": PatientDice(patients, classes, jaccard=True),
        }
    else:
        scores = {
            "accuracy": BinaryAccuracy(),
            "precision": BinaryPrecision(),
            "recall": BinaryRecall(),  # the accuracy of the positives
            "specificity": BinarySpecificity(),  # the accuracy of the negatives
            "loss_pos": ClassLoss(1),
            "loss_neg": ClassLoss(0),
            "f1": BinaryF1Score(),
        }
    return MetricCollection(scores, prefix="val_", compute_groups=False)


def answers(logits: torch.Tensor) -> torch.Tensor:
    """Logits as the scores take them: masks as they are, two classes as the probability of the second."""
    return logits.float() if logits.ndim > 2 else logits.float().softmax(1)[:, 1]
