"""Early exit: a vote of three networks that asks the third only where the first two disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.task import Array, Networks, Pipeline, Step, Tensors


def voters(pipeline: Pipeline) -> list[Step]:
    """The steps whose networks vote: each is a network by itself, and one step takes all their answers together."""
    asked = [step for step in pipeline.steps if isinstance(step.run, str)]
    answers = {step.outputs[0] for step in asked}
    return asked if any(answers <= set(step.inputs) for step in pipeline.steps) else []


def early_exit(pipeline: Pipeline, share: float) -> Pipeline:
    """The pipeline whose third voter is asked only where the first two differ on more than this share of their pixels.

    Their pixels are those that either of them marks. Without the third, the more confident of the two decides where
    they differ.
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
