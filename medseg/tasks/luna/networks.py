"""LUNA's three networks: slices to nodule candidates, candidates to nodules, nodules to malignancy."""

from __future__ import annotations

from typing import Any

from medseg.task import Network, Recipe


def _unet(**options: Any) -> Any:
    from medseg.models.luna_unet import luna_unet

    return luna_unet(**options)


def _cnn(**options: Any) -> Any:
    from medseg.models.luna_cnn import luna_cnn

    return luna_cnn(**options)


SEGMENT = Network(
    name="luna-segment",
    input_shape=(7, 512, 512),
    output_shape=(1, 512, 512),
    classes=("nodule",),
    recipe=Recipe(epochs=10, batch_size=16, lr=1e-3, optimizer="adam", loss="luna-dice"),
    input_range=(-1000.0, 1000.0),
    build=_unet,
    options={"context": 3, "features": 16, "depth": 3},
    free_axes={2: 4, 3: 4},
)
NODULE = Network(
    name="luna-nodule",
    input_shape=(1, 32, 48, 48),
    output_shape=(2,),
    classes=("non-nodule", "nodule"),
    recipe=Recipe(epochs=10, batch_size=32, lr=1e-3, optimizer="sgd", momentum=0.99, loss="cross-entropy"),
    input_range=(-1000.0, 1000.0),
    build=_cnn,
    options={"features": 8},
)
MALIGNANCY = Network(
    name="luna-malignancy",
    input_shape=(1, 32, 48, 48),
    output_shape=(2,),
    classes=("benign", "malignant"),
    recipe=Recipe(epochs=10, batch_size=32, lr=3e-4, optimizer="sgd", momentum=0.99, loss="cross-entropy"),
    input_range=(-1000.0, 1000.0),
    build=_cnn,
    options={"features": 8},
)
NETWORKS = (SEGMENT, NODULE, MALIGNANCY)
