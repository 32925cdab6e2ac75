"""Parity: how far an exported file's answers are from torch's, in mask voxels and in probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cc3d
import numpy as np
import onnx
import onnxruntime
from scipy import ndimage
from scipy.special import logsumexp

from medseg.errors import ExportError
from medseg.models.onnx_session import session_of
from medseg.task import Array, Network

CERTAIN = 10.0  # log-odds of a probability of 0.99995: larger ones are compared relative to their size
FEW_VOXELS = 100  # with fewer voxels inside or outside torch's masks Dice says little: then probabilities are judged


@dataclass(frozen=True)
class Budget:
    """The bound of an export: masks by Dice; a classifier, or empty or full masks, by the largest probability error.

    The share of lesions that may be lost is the share of Dice that may be lost: with 0.999, none of fewer than 1,000.
    Each of several classes must reach the Dice, because a small class hardly changes the Dice of all, and no class may
    be lost completely. A classifier's log-odds are bounded too, because they rank the items whose probabilities are
    close to 1.
    """

    dice: float
    probability_error: float
    odds_error: float = np.inf

    def halved(self) -> Budget:
        """The bound with half of its allowance."""
        return self.widened(0.5)

    def widened(self, times: float) -> Budget:
        """The bound with this many times its allowance."""
        return Budget(max(0.0, 1 - times * (1 - self.dice)), times * self.probability_error, times * self.odds_error)


@dataclass(frozen=True)
class Precision:
    """The bound of a precision, and the engine if only one computes in it."""

    budget: Budget
    engine: str = ""


PRECISIONS = {
    "fp32": Precision(Budget(0.9999, 0.001, 0.01)),
    "fp16": Precision(Budget(0.999, 0.01, 0.02)),
    "bf16": Precision(Budget(0.995, 0.05, 0.05), "openvino"),
    "int8": Precision(Budget(0.99, 0.1, 0.05)),
}


@dataclass(frozen=True)
class Parity:
    """How far answers are from torch's over all samples. A mask is where the probability is over its threshold."""

    samples: int
    dice: float
    flipped: int  # voxels, or decisions of a classifier, that differ from torch's
    mask_voxels: int  # in torch's masks
    voxels: int
    lesions: int  # in torch's masks, see `untouched`; a classifier's findings
    lost: int  # of those, the ones that the answer does not touch
    gained: int  # the answer's lesions that torch's masks do not touch
    probability_error: float  # the largest
    odds_error: float  # the largest of a classifier's log-odds, relative to their size or to CERTAIN; 0 for masks
    finite: bool
    worst: str = ""  # the class with the least Dice, among several classes with enough voxels
    worst_dice: float = 1.0
    vanished: str = ""  # the first of several classes that has lesions in torch's masks and lost all of them

    def facts(self) -> dict[str, Any]:
        """The numbers as the manifest keeps them."""
        numbers = ("dice", "worst_dice", "probability_error", "odds_error")
        rounded = {name: round(getattr(self, name), 6) for name in numbers}
        return asdict(self) | rounded


def budget_for(precision: str, dice: float | None = None) -> Budget:
    """The bound of a precision; a given Dice replaces its own."""
    usual = PRECISIONS[precision].budget
    return usual if dice is None else replace(usual, dice=dice)


def compare(network: Network, references: Iterable[Array], answers: Iterable[Array]) -> Parity:
    """The parity of logits with torch's logits, sample by sample. Raises ExportError if their shapes differ."""
    counts: Counter[str] = Counter()
    by_class = np.zeros((5, 1), int)
    error, odds_error, finite = 0.0, 0.0, True
    for reference, answer in zip(references, answers, strict=True):
        if answer.shape != reference.shape:
            shapes = f"answers with shape {answer.shape}, but torch with {reference.shape}"
            raise ExportError(f"a file of {network.name} is not recorded: it {shapes}: build the network again")
        reference, answer = (_each_fold(network, one) for one in (reference, answer))
        expected, found = probabilities(network, reference), probabilities(network, answer)
        mask, other = marked(network, reference), marked(network, answer)
        counts.update(_counts(mask, other))
        by_class = by_class + _by_class(mask, other)
        finite = finite and bool(np.isfinite(answer).all())
        error = max(error, float(np.nan_to_num(np.abs(expected - found), nan=1.0).max()))
        if is_classifier(network):
            odds = log_odds(reference)
            moved = np.abs(odds - log_odds(answer)) / np.maximum(np.abs(odds), CERTAIN)
            odds_error = max(odds_error, float(moved.max()))
    overlap, masked, answered, lesions, lost = by_class
    total = int(masked.sum() + answered.sum())
    return Parity(
        samples=counts["samples"],
        dice=2 * int(overlap.sum()) / total if total else 1.0,
        flipped=counts["flipped"],
        mask_voxels=int(masked.sum()),
        voxels=counts["voxels"],
        lesions=int(lesions.sum()),
        lost=int(lost.sum()),
        gained=counts["gained"],
        probability_error=error,
        odds_error=odds_error,
        finite=finite,
        **_extremes(network, by_class),
    )


def _counts(mask: Array, other: Array) -> dict[str, int]:
    """The counts of one sample's masks (n, classes, ...); `mask` is torch's."""
    gained = sum(untouched(found, known)[1] for known, found in _classes(mask, other))
    return {
        "samples": len(mask),
        "flipped": int((mask != other).sum()),
        "voxels": mask.size,
        "gained": gained,
    }


def _by_class(mask: Array, other: Array) -> Array:
    """(5, classes): voxels of the overlap, of the mask, of the other; the mask's lesions, and the lost ones."""
    columns = [
        ((one & found).sum(), one.sum(), found.sum(), *untouched(one, found)) for one, found in _classes(mask, other)
    ]
    return np.array(columns, int).T


def _classes(mask: Array, other: Array) -> Iterator[tuple[Array, Array]]:
    """Both masks (n, 1, ...) of each class."""
    return ((mask[:, at : at + 1], other[:, at : at + 1]) for at in range(mask.shape[1]))


def _extremes(network: Network, by_class: Array) -> dict[str, Any]:
    """Which of several classes has the least Dice, and which is lost completely."""
    if len(network.classes) < 2 or is_classifier(network):
        return {}
    overlap, masked, answered, lesions, lost = by_class
    dice = 2 * overlap / np.maximum(masked + answered, 1)
    dice[np.maximum(masked, answered) < FEW_VOXELS] = np.inf
    least = int(dice.argmin())
    gone = np.flatnonzero((lesions > 0) & (lost == lesions))
    return {
        **({"worst": network.classes[least], "worst_dice": float(dice[least])} if np.isfinite(dice[least]) else {}),
        "vanished": network.classes[gone[0]] if len(gone) else "",
    }


def untouched(mask: Array, other: Array) -> tuple[int, int]:
    """How many lesions bool masks (n, classes, ...) hold, and how many of these `other` does not touch.

    A lesion is a connected component (diagonals count) with at least one voxel whose direct neighbours all lie in the
    mask. Thinner components do not count: they come and go with the last digit, and LUNA's grouping erodes them away.
    Each decision of a classifier (n, classes) counts as one lesion.
    """
    if mask.ndim == 2:
        return int(mask.sum()), int((mask & ~other).sum())
    count = missed = 0
    for plane, met in zip(mask.reshape(-1, *mask.shape[2:]), other.reshape(-1, *mask.shape[2:]), strict=True):
        pieces = cc3d.connected_components(plane)
        lesions = set(np.unique(pieces[ndimage.binary_erosion(plane)]))
        count += len(lesions)
        missed += len(lesions - set(np.unique(pieces[met])))
    return count, missed


def shortfall(network: Network, parity: Parity, budget: Budget) -> str | None:
    """Why a file misses the bound, in words; None if it does not."""
    if not parity.finite:
        return "its answers hold NaN or infinity"
    few = min(parity.mask_voxels, parity.voxels - parity.mask_voxels) < FEW_VOXELS
    if is_classifier(network) or few:
        return _by_errors(parity, budget)
    if parity.dice < budget.dice:
        return f"its masks have Dice {parity.dice:.5f} ({parity.flipped} voxels flipped), at least {budget.dice} "
        "is required"
    if parity.worst_dice < budget.dice:
        return f"its masks of {parity.worst!r} have Dice {parity.worst_dice:.5f}, at least {budget.dice} is required"
    if parity.vanished:
        return f"its masks miss every lesion of {parity.vanished!r}, which torch finds"
    if parity.lost > (allowed := int((1 - budget.dice) * parity.lesions)):
        return f"its masks lose {parity.lost} of {parity.lesions} lesions, at most {allowed} may be lost"
    return None


def _by_errors(parity: Parity, budget: Budget) -> str | None:
    if parity.probability_error > budget.probability_error:
        return f"its probabilities differ by {parity.probability_error:.4f}, at most {budget.probability_error} may be"
    if parity.odds_error > budget.odds_error:
        return f"its log-odds differ by {parity.odds_error:.2%}, at most {budget.odds_error:.2%} may be"
    return None


def judged(network: Network, name: str, parity: Parity, budget: Budget) -> Parity:
    """The parity, if it is good enough. Raises ExportError with the reason if it is not."""
    if reason := shortfall(network, parity, budget):
        raise ExportError(f"{name} of {network.name} is not recorded: {reason}, on {parity.samples} samples")
    return parity


def probabilities(network: Network, logits: Array) -> Array:
    """Sigmoid of the logits, or softmax for a classifier or a softmax network; the background channel is left out.

    A classifier's first class is its background.
    """
    logits = logits.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if not is_classifier(network) and network.activation == "sigmoid":
            return 1 / (1 + np.exp(-logits))
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (scores / scores.sum(axis=1, keepdims=True))[:, _before(network, logits) :]


def marked(network: Network, logits: Array) -> Array:
    """What these logits mark, bool: the pixels of each class, or a classifier's findings."""
    if is_classifier(network):
        return probabilities(network, logits) > 0.5
    if network.activation == "sigmoid":
        return probabilities(network, logits) > network.threshold
    places = np.arange(logits.shape[1]).reshape(1, -1, *(1,) * (logits.ndim - 2))
    return (logits.argmax(axis=1, keepdims=True) == places)[:, _before(network, logits) :]


def _each_fold(network: Network, logits: Array) -> Array:
    """Logits (n, folds * outputs, ...) as (n * folds, outputs, ...): each fold is compared with its own answer."""
    return logits if network.folds == 1 else logits.reshape(-1, logits.shape[1] // network.folds, *logits.shape[2:])


def _before(network: Network, logits: Array) -> int:
    """How many channels come before the classes: one for the background, or none."""
    return 1 if is_classifier(network) else logits.shape[1] - len(network.classes)


def log_odds(logits: Array) -> Array:
    """A classifier's log-odds (n, classes - 1) of each class except the first, from its logits (n, classes)."""
    logits = logits.astype(np.float64)
    rest = [logsumexp(np.delete(logits, index, axis=1), axis=1) for index in range(1, logits.shape[1])]
    return logits[:, 1:] - np.stack(rest, axis=1)


def is_classifier(network: Network) -> bool:
    """Whether the network answers with one number per class instead of one per voxel."""
    return len(network.output_shape) == 1


def onnx_infer(
    model: onnx.ModelProto,
    outputs: Sequence[str] = ("output",),
    constants: Mapping[str, onnxruntime.OrtValue] | None = None,
) -> Callable[[Array], Array]:
    """An ONNX model as a function, without optimizations, which may hide the effects of rounding.

    The values of several outputs (one value each) come as one array. `constants`: as in `session_of`. Raises
    ExportError if the model cannot be run.
    """
    try:
        session = session_of(model, constants)
    except Exception as error:
        raise ExportError(f"the ONNX file cannot be run ({str(error).splitlines()[0]}): export it again") from error

    def infer(batch: Array) -> Array:
        found = session.run(list(outputs), {"input": batch})
        return found[0] if len(found) == 1 else np.array(found)

    return infer
