"""The network: it takes `input` (n, 3, h, w) float32 and answers logits (n, 1, h, w)."""

from typing import Any

from medseg.task import Network, Recipe

SIZE = (64, 64)


def _build(features: int) -> Any:
    from torch import nn  # here, so that commands which need no torch stay quick

    def layer(channels: int) -> list[Any]:
        return [nn.Conv2d(channels, features, 3, padding=1), nn.BatchNorm2d(features), nn.ReLU()]

    return nn.Sequential(*layer(3), *layer(features), nn.Conv2d(features, 1, 1))


NETWORK = Network(
    name="cells",
    input_shape=(3, *SIZE),
    output_shape=(1, *SIZE),
    classes=("disc",),
    recipe=Recipe(epochs=20, batch_size=8, lr=1e-2),
    build=_build,
    options={"features": 8},
    free_axes={2: 8, 3: 8},
    input_range=(-2.0, 2.0),
)
