"""Parity: how far an exported file's answers lie from torch's, in mask voxels and in probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime

from medseg.errors import ExportError
from medseg.task import Array, Network

# What a file must reach to be recorded: the Dice of its masks, the error of a classifier's probabilities.
BUDGETS = {"fp32": (0.9999, 0.001), "fp16": (0.999, 0.01), "int8": (0.99, 0.1)}
FEW_VOXELS = 100  # below this many mask voxels in torch's answer Dice says little, so probabilities are judged


@dataclass(frozen=True)
class Budget:
    """The bound of an export: masks by Dice; a classifier, or empty masks, by the largest error in probability."""

    dice: float
    probability_error: float

    def halved(self) -> Budget:
        """The bound with half of its allowance."""
        return Budget((1 + self.dice) / 2, self.probability_error / 2)


@dataclass(frozen=True)
class Parity:
    """How far answers lie from torch's over all samples. Masks are probabilities over 0.5."""

    samples: int
    dice: float
    flipped: int  # voxels, or decisions of a classifier, on the other side of 0.5
    mask_voxels: int  # over 0.5 in torch's answer
    voxels: int
    probability_error: float  # the largest
    finite: bool

    def facts(self) -> dict[str, Any]:
        """The numbers as the manifest keeps them."""
        return asdict(self) | {"dice": round(self.dice, 6), "probability_error": round(self.probability_error, 6)}


def budget_for(precision: str, dice: float | None = None) -> Budget:
    """The bound of a precision, its Dice overridden where one is given."""
    default_dice, probability_error = BUDGETS[precision]
    return Budget(default_dice if dice is None else dice, probability_error)


def compare(network: Network, references: Iterable[Array], answers: Iterable[Array]) -> Parity:
    """The parity of logits with torch's logits, sample by sample."""
    samples = overlap = reference_voxels = answer_voxels = flipped = voxels = 0
    error, finite = 0.0, True
    for reference, answer in zip(references, answers, strict=True):
        expected, found = probabilities(network, reference), probabilities(network, answer)
        mask, other = expected > 0.5, found > 0.5
        samples += len(reference)
        overlap += int((mask & other).sum())
        reference_voxels += int(mask.sum())
        answer_voxels += int(other.sum())
        flipped += int((mask != other).sum())
        voxels += mask.size
        finite = finite and bool(np.isfinite(answer).all())
        error = max(error, float(np.nan_to_num(np.abs(expected - found), nan=1.0).max()))
    total = reference_voxels + answer_voxels
    return Parity(samples, 2 * overlap / total if total else 1.0, flipped, reference_voxels, voxels, error, finite)


def shortfall(network: Network, parity: Parity, budget: Budget) -> str | None:
    """What keeps a file below the bound, in words; None when it holds."""
    if not parity.finite:
        return "its answers hold NaN or infinity"
    by_probability = is_classifier(network) or parity.mask_voxels < FEW_VOXELS
    if by_probability and parity.probability_error > budget.probability_error:
        return f"its probabilities differ by {parity.probability_error:.4f}, at most {budget.probability_error} may be"
    if not by_probability and parity.dice < budget.dice:
        return f"its masks have Dice {parity.dice:.5f} ({parity.flipped} voxels flipped), at least {budget.dice} is due"
    return None


def judged(network: Network, name: str, parity: Parity, budget: Budget) -> Parity:
    """The parity, if it is good enough. Raises ExportError saying what falls short."""
    if reason := shortfall(network, parity, budget):
        raise ExportError(f"{name} of {network.name} is not recorded: {reason}, on {parity.samples} samples")
    return parity


def probabilities(network: Network, logits: Array) -> Array:
    """Sigmoid of a segmentation's logits, or softmax of a classifier's without its first class (the background)."""
    logits = logits.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if not is_classifier(network):
            return 1 / (1 + np.exp(-logits))
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (scores / scores.sum(axis=1, keepdims=True))[:, 1:]


def is_classifier(network: Network) -> bool:
    """Whether the network answers with one number per class instead of one per voxel."""
    return len(network.output_shape) == 1


def onnx_infer(model: onnx.ModelProto, outputs: Sequence[str] = ("output",)) -> Callable[[Array], Array]:
    """A callable on an ONNX model as it stands, without the optimizations that may hide what rounding does.

    With several outputs (one value each) their values come as one array. Raises ExportError where it cannot be run.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"the ONNX file cannot be run ({str(error).splitlines()[0]}): export it again") from error

    def infer(batch: Array) -> Array:
        found = session.run(list(outputs), {"input": batch})
        return found[0] if len(found) == 1 else np.array(found)

    return infer
