"""The network of a description."""

from __future__ import annotations

from functools import partial
from typing import Any

from medseg.errors import RunError
from medseg.task import Network, Recipe
from medseg.tasks.picture.description import Picture
from medseg.tasks.picture.prepare import normalised_range

NAME = "picture"
NETWORKS: tuple[Network, ...] = ()  # before a run describes one


def network(picture: Picture, text: str) -> Network:
    """The described network; `text` is the description's text."""
    grid = (picture.size.height, picture.size.width)
    return Network(
        name=NAME,
        input_shape=(len(picture.shared.channels), *grid),
        output_shape=(picture.outputs, *grid),
        classes=picture.classes,
        recipe=Recipe(epochs=30, batch_size=8, lr=1e-3, loss="bce-tversky", optimizer="adamw", schedule="cosine"),
        build=partial(_build, picture),
        free_axes={2: picture.size.multiple, 3: picture.size.multiple} if picture.size.free else {},
        unused=("classification_head.",),  # smp's second head, which classifies whole pictures
        input_range=normalised_range(picture),
        activation=picture.shared.activation,
        threshold=picture.shared.threshold,
        described_by=text,
    )


def _build(picture: Picture) -> Any:
    from medseg.models.foreign import smp_network

    one = picture.architecture
    if one is None:
        raise RunError(
            "the description has no architecture; expected one, because the run has no program: import again"
        )
    return smp_network(one.name, one.encoder, one.options, len(picture.shared.channels), picture.outputs)
