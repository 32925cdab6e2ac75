"""The shapes of masks that are compared."""

from __future__ import annotations

from medseg.errors import InputError
from medseg.task import Array


def check_shapes(answer: Array, truth: Array) -> None:
    """Raise InputError where an answer's mask has not the truth's shape: no score can be given then."""
    if answer.shape != truth.shape:
        raise InputError(
            f"the answer is a mask of shape {answer.shape} and the truth has shape {truth.shape}; expected the same "
            "shape: check that the network and the truth belong to these pictures"
        )
