"""Networks of segmentation-models-pytorch (smp) by architecture and encoder, built without a download."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import segmentation_models_pytorch as smp
from torch import nn

from medseg.errors import InputError, unknown

TIMM = "tu-"  # smp's prefix for encoders of timm
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
# Options that a description states itself, and aux_params, which does not affect the masks.
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
    except Exception as error:  # smp and timm raise many kinds, such as for an unknown option or a negative depth
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"architecture {name!r} cannot be built with encoder {encoder!r} ({reason}): choose another one"
        ) from error


def architecture_named(name: str) -> str:
    """The architecture's name as in ARCHITECTURES. Raises InputError with the known names."""
    plain = name.lower().replace("_", "").replace("-", "").replace("+", "plus")
    if plain not in ARCHITECTURES:
        raise InputError(unknown("architecture", name, ARCHITECTURES))
    return plain


def check_encoder(name: str) -> None:
    """Raise InputError with similar names where neither smp nor timm has an encoder of this name."""
    known = set(smp.encoders.get_encoder_names())
    if name in known or name.startswith("timm-"):  # smp also accepts old names for models of today's timm
        return
    import timm

    models = timm.list_models()
    plain = name.removeprefix(TIMM).split(".")[0]  # timm's names may end with a name of weights
    if name.startswith(TIMM) and plain in models:
        return
    near = get_close_matches(name, [*known, *(f"{TIMM}{one}" for one in models)], 3, 0.5)
    raise InputError(
        f"encoder {name[:80]!r} is unknown; expected one of smp's, or {TIMM} and a model of timm"
        + (f", such as {', '.join(near)}" if near else "")
    )


def decoder_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an smp configuration that a description keeps: those for building the network."""
    return {name: value for name, value in config.items() if name not in _SAID and not name.startswith("_")}
