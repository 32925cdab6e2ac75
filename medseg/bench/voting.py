"""Voting: what each of three voters adds and costs, and the vote that asks the third only where two disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medseg.metrics.voters import ALONE, WITHOUT
from medseg.task import Array, Networks, Pipeline, Step, Tensors

Record = dict[str, Any]


def voters(pipeline: Pipeline) -> list[Step]:
    """The steps whose networks vote: each is a network by itself, and one step takes all their answers together."""
    asked = [step for step in pipeline.steps if isinstance(step.run, str)]
    answers = {step.outputs[0] for step in asked}
    return asked if any(answers <= set(step.inputs) for step in pipeline.steps) else []


def early_exit(pipeline: Pipeline, share: float) -> Pipeline:
    """The pipeline whose third voter is asked only where the first two differ on more than this share of their pixels.

    Their pixels are those that either of them marks. Without the third, the surer of the two decides where they differ.
    """
    *first, last = voters(pipeline)
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


def voter_rows(target: Record, steps: Mapping[str, str]) -> list[Record]:
    """Each voter's name, own Dice, what the vote loses without it, its seconds, and how often it was asked.

    `steps` are the steps that are a network, by its name. With early exit there are not always all votes, so Dice is
    None. Empty where nobody votes.
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
            "seconds": _seconds(book, steps.get(name, "")) if book else None,
            "asked": sum(not timing["items"] or any(name in stage for stage in timing["items"]) for timing in good),
            "requests": len(good),
        }
        for name in names
    ]


def _seconds(book: Record, step: str) -> float:
    """What a ledger has for a step and for the networks inside it."""
    return sum(row["seconds"] for row in book["rows"] if row["stage"] == step or row["stage"].startswith(f"{step}: "))
