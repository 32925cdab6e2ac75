"""STAS's three voters: DeepLabV3+ on three encoders, as the fourth-placed team of AI CUP 2022 used them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.task import Network, Recipe

# Old timm names, as in the team's code -> today's names of the same networks.
OLD_ENCODERS = {
    "tu-tf_efficientnetv2_m_in21ft1k": "tu-tf_efficientnetv2_m",
    "tu-tf_efficientnet_b6_ns": "tu-tf_efficientnet_b6",
}


def _build(encoder: str, **options: Any) -> Any:
    from medseg.models.deeplab import deeplab

    return deeplab(encoder=OLD_ENCODERS.get(encoder, encoder), **options)


def _keys(state: Mapping[str, Any]) -> dict[str, Any]:
    """The team's state as ours, for upright pictures.

    The team read pictures as (width, height), so its kernels see them transposed. Convolving a transposed picture is
    convolving the upright one with transposed kernels, and every other layer treats both axes alike. So the imported
    network takes the upright picture, at no cost.
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
        unused=("classification_head.",),  # auxiliary: it helped the team's fits
    )


NETWORKS = (
    _voter("stas-efficientnetv2-m", "tu-tf_efficientnetv2_m"),
    _voter("stas-eca-nfnet-l2", "tu-eca_nfnet_l2"),
    _voter("stas-efficientnet-b6", "tu-tf_efficientnet_b6"),
)
