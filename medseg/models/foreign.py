"""Networks of segmentation-models-pytorch by the names of their architecture and encoder, built without a download."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import segmentation_models_pytorch as smp
from torch import nn

from medseg.errors import InputError, unknown

TIMM = "tu-"  # how smp names the encoders of timm
ARCHITECTURES: Mapping[str, type[nn.Module]] = {
    kind.__name__.lower(): kind
    for kind in (
        smp.Unet,
        smp.UnetPlusPlus,
        smp.MAnet,
        smp.Linknet,
        smp.FPN,
        smp.PSPNet,
        smp.DeepLabV3,
        smp.DeepLabV3Plus,
        smp.PAN,
        smp.UPerNet,
        smp.Segformer,
        smp.DPT,
    )
}
# What a description says itself, or what no answer goes through.
_SAID = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params")


def smp_network(name: str, encoder: str, options: Mapping[str, Any], channels: int, outputs: int) -> nn.Module:
    """An smp network with random weights: (n, channels, h, w) float32 -> (n, outputs, h, w) logits.

    Raises InputError for an architecture, an encoder or an option that smp does not have.
    """
    kind = ARCHITECTURES[architecture_named(name)]
    check_encoder(encoder)
    if said := [option for option in options if option in _SAID]:
        raise InputError(f"architecture option {said[0]!r} is stated by the description itself: leave it out")
    how: dict[str, Any] = {"encoder_weights": None, "in_channels": channels, "classes": outputs, "activation": None}
    try:
        return kind(encoder_name=encoder, **how, **options)
    except Exception as error:  # smp's and timm's words for an option they do not have, a depth below zero
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"architecture {name!r} cannot be built with encoder {encoder!r} ({reason}): choose another one"
        ) from error


def architecture_named(name: str) -> str:
    """The architecture's name as it is looked up. Raises InputError listing the names there are."""
    plain = name.lower().replace("_", "").replace("-", "").replace("+", "plus")
    if plain not in ARCHITECTURES:
        raise InputError(unknown("architecture", name, ARCHITECTURES))
    return plain


def check_encoder(name: str) -> None:
    """Raise InputError naming what is near, where neither smp nor timm has an encoder of this name."""
    known = set(smp.encoders.get_encoder_names())
    if name in known or name.startswith("timm-"):  # smp gives these names, too, to models of today's timm
        return
    import timm

    models = timm.list_models()
    plain = name.removeprefix(TIMM).split(".")[0]  # timm's own names may go on with the weights'
    if name.startswith(TIMM) and plain in models:
        return
    near = get_close_matches(name, [*known, *(f"{TIMM}{one}" for one in models)], 3, 0.5)
    raise InputError(
        f"encoder {name[:80]!r} is unknown; expected one of smp's, or {TIMM} and a model of timm"
        + (f", such as {', '.join(near)}" if near else "")
    )


def decoder_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an smp configuration that a description keeps: those that say how the network is built."""
    return {name: value for name, value in config.items() if name not in _SAID and not name.startswith("_")}
