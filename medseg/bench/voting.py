"""Voting: what each of three voters adds and costs, and the vote that asks the third only where two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medseg.metrics.overlap import dice
from medseg.task import Array, Networks, Pipeline, Step, Tensors

ALONE, WITHOUT = "alone: ", "without: "  # what a voter's two scores are called; with its name behind

Record = dict[str, Any]


def voter_scores(voters: Sequence[str], votes: Array, truth: Array) -> dict[str, float]:
    """Each voter's own Dice, and that of the other two where both agree; votes (3, h, w), truth (h, w)."""
    found = {}
    for index, name in enumerate(voters):
        others = np.delete(votes, index, axis=0)
        found[f"{ALONE}{name}"] = dice(votes[index], truth)
        found[f"{WITHOUT}{name}"] = dice(np.all(others, axis=0), truth)
    return found


def is_voters(metric: str) -> bool:
    """Whether a score is one of a single voter's, which have a table of their own."""
    return metric.startswith((ALONE, WITHOUT))


def early_exit(pipeline: Pipeline, share: float) -> Pipeline:
    """The pipeline whose third voter is asked only where the first two differ on more than this share of their pixels.

    Their pixels are those that either of them marks. Without the third, the surer of the two decides where they differ.
    """
    *first, last = [step for step in pipeline.steps if isinstance(step.run, str)]
    pair = [step.outputs[0] for step in first]

    def decided(tensors: Tensors, networks: Networks) -> Tensors:
        one, other = (tensors[name] for name in pair)
        if disagreement(one > 0, other > 0) <= share:
            return {last.outputs[0]: one + other}
        return {last.outputs[0]: networks(str(last.run))(tensors[last.inputs[0]])}

    third = Step(last.name, decided, (*last.inputs, *pair), last.outputs)
    return replace(pipeline, steps=tuple(third if step is last else step for step in pipeline.steps))


def disagreement(one: Array, other: Array) -> float:
    """The share of two masks' pixels that only one of them holds: 0 where they are equal, 1 where they are disjoint."""
    either = np.count_nonzero(one | other)
    return float(np.count_nonzero(one ^ other) / either) if either else 0.0


def voter_rows(target: Record) -> list[Record]:
    """Each voter's name, own Dice, what the vote loses without it, its seconds, and how often it was asked.

    With early exit there are not always three votes, so Dice is None. Empty where nobody votes.
    """
    accuracy, book = target["accuracy"], target["ledger"]
    exits = target["facts"].get("early_exit") is not None
    names = [name.removeprefix(ALONE) for name in accuracy if name.startswith(ALONE)]
    good = [timing for timing in target["serial"]["timings"] if timing["error"] is None]
    return [
        {
            "name": name,
            "alone": None if exits else accuracy[f"{ALONE}{name}"]["mean"],
            "adds": None if exits else accuracy["dice"]["mean"] - accuracy[f"{WITHOUT}{name}"]["mean"],
            "seconds": sum(row["seconds"] for row in book["rows"] if _belongs(row["stage"], name)) if book else None,
            "asked": sum(not timing["items"] or any(name in stage for stage in timing["items"]) for timing in good),
            "requests": len(good),
        }
        for name in names
    ]


def _belongs(stage: str, voter: str) -> bool:
    step = voter.removeprefix("stas-").replace("-", "_")
    return stage == step or stage.startswith(f"{step}: ")
