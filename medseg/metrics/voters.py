"""What each of several networks that vote is worth: its own Dice, and that of the others without it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.metrics.definitions import DICE, of
from medseg.metrics.overlap import dice
from medseg.tensor import Array

ALONE, WITHOUT = "alone: ", "without: "  # what a voter's two scores are called; with its name behind
VOTERS = (
    of(DICE, "of one network's own mask: ", f"{ALONE}NETWORK"),
    of(DICE, "of what all other networks mark: ", f"{WITHOUT}NETWORK"),
)


def voter_scores(voters: Sequence[str], votes: Array, truth: Array) -> dict[str, float]:
    """Each voter's own Dice, and that of the others where they all agree; votes (voters, h, w), truth (h, w)."""
    found = {}
    for index, name in enumerate(voters):
        others = np.delete(votes, index, axis=0)
        found[f"{ALONE}{name}"] = dice(votes[index], truth)
        found[f"{WITHOUT}{name}"] = dice(np.all(others, axis=0), truth)
    return found


def is_voters(score: str) -> bool:
    """Whether a score is one of a single voter's, which have a table of their own."""
    return score.startswith((ALONE, WITHOUT))
