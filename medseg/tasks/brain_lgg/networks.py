"""The brain tumour's network: the public U-Net, or with the option `arch` one of the variants that its users tried."""

from __future__ import annotations

from typing import Any

from medseg.task import Network, Recipe


def _build(**options: Any) -> Any:
    from medseg.models.brain import brain_network

    return brain_network(**options)


BRAIN_LGG = Network(
    name="brain-lgg",
    input_shape=(3, 256, 256),
    output_shape=(1, 256, 256),
    classes=("tumour",),
    recipe=Recipe(epochs=100, batch_size=16, lr=1e-4, loss="dice", schedule="linear"),
    build=_build,
    options={"arch": "unet", "features": 32},
    choices={"arch": ("unet", "unet-residual", "unet-resnext50", "fpn", "unetpp", "unet3p")},
    free_axes={2: 32, 3: 32},
)
NETWORKS = (BRAIN_LGG,)
