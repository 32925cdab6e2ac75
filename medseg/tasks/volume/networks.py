"""The network of a volume's description: it takes a tile and returns the logits of all its folds."""

from __future__ import annotations

from typing import Any

from medseg.description import Description
from medseg.errors import RunError
from medseg.task import Network, Recipe
from medseg.tasks.volume.plan import Plan

NAME = "volume"
REFINING = "volume-refining"  # of a cascade: it also takes the answer of an earlier network
_RANGE = (-3.0, 3.0)  # of values that were normalised


def network(description: Description, plan: Plan, text: str = "") -> Network:
    """The network as the description, whose text this is, has it."""
    return Network(
        name=REFINING if plan.previous else NAME,
        input_shape=(plan.channels, *plan.window.patch),
        output_shape=(plan.folds * len(plan.heads.values), *plan.window.patch),
        classes=tuple(one.name for one in description.classes),
        recipe=Recipe(epochs=0, batch_size=1, lr=0.0),
        build=_build,
        input_range=_RANGE,
        activation=description.activation,
        threshold=description.threshold,
        folds=plan.folds,
        described_by=text,
    )


def _build(**_: Any) -> Any:
    raise RunError("a volume's network is not built from parts here; expected the program that it was imported with")
