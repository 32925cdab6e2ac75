"""STAS's three networks, each with a vote: DeepLabV3+ on three encoders, as AI CUP 2022's fourth-placed team did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.task import Network, Recipe

# timm's old names, as in the team's code -> today's names of the same networks.
OLD_ENCODERS = {
    "tu-tf_efficientnetv2_m_in21ft1k": "tu-tf_efficientnetv2_m",
    "tu-tf_efficientnet_b6_ns": "tu-tf_efficientnet_b6",
}


def _build(encoder: str, **options: Any) -> Any:
    from medseg.models.deeplab import deeplab

    return deeplab(encoder=OLD_ENCODERS.get(encoder, encoder), **options)


def _keys(state: Mapping[str, Any]) -> dict[str, Any]:
    """The team's state with transposed kernels, for pictures (height, width).

    The team read pictures as (width, height), so its kernels see them transposed. To convolve a transposed picture is
    the same as to convolve the picture itself with transposed kernels; all other layers treat both axes in the same
    way. So the imported network takes pictures as they are, at no cost.
    """
    return {key: value.transpose(2, 3).contiguous() if value.ndim == 4 else value for key, value in state.items()}


def _voter(name: str, encoder: str) -> Network:
    return Network(
        name=name,
        input_shape=(3, 800, 800),
        output_shape=(1, 800, 800),
        classes=("stas",),
        recipe=Recipe(epochs=500, batch_size=24, lr=1e-4, optimizer="adabelief", loss="dice", weight_decay=1e-4),
        build=_build,
        options={"encoder": encoder},
        free_axes={2: 32, 3: 32},
        keys=_keys,
        unused=("classification_head.",),  # an auxiliary head, only for the team's training
    )


NETWORKS = (
    _voter("stas-efficientnetv2-m", "tu-tf_efficientnetv2_m"),
    _voter("stas-eca-nfnet-l2", "tu-eca_nfnet_l2"),
    _voter("stas-efficientnet-b6", "tu-tf_efficientnet_b6"),
)
