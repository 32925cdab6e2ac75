"""The GI tract's network: a U-Net with an EfficientNet-B1 encoder, as in the UW-Madison notebook."""

from __future__ import annotations

from typing import Any

from medseg.task import Network, Recipe

# EfficientNet's layers after its last block. Some versions of smp keep them in the encoder, but no U-Net uses them.
CLASSIFIER_ENDS = ("_conv_head", "_bn1")


def _build(**options: Any) -> Any:
    from medseg.models.encoder_unet import encoder_unet

    return encoder_unet(channels=3, classes=3, without=CLASSIFIER_ENDS, **options)


GI_TRACT = Network(
    name="gi-tract",
    input_shape=(3, 224, 224),
    output_shape=(3, 224, 224),
    classes=("large_bowel", "small_bowel", "stomach"),
    recipe=Recipe(epochs=15, batch_size=128, lr=2e-3, loss="bce-tversky", schedule="cosine", precision="16-mixed"),
    build=_build,
    options={"encoder": "efficientnet-b1"},
    free_axes={2: 32, 3: 32},
    unused=tuple(f"encoder.{name}." for name in CLASSIFIER_ENDS),
)
NETWORKS = (GI_TRACT,)
