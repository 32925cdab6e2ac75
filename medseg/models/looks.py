"""Guesses, from a checkpoint's tensors, which network it belongs to: for one that does not say so, or does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from medseg.models.foreign import smp_network
from medseg.models.pickled import content_of

Shapes = Mapping[str, tuple[int, ...]]
_EXPORT = "export it with torch.export.save (.pt2) or torch.onnx.export, and import that file"
_HEAD = "segmentation_head.0.weight"
# A pattern of keys that shows this architecture's decoder; more specific patterns come first.
_DECODERS = (
    ("UnetPlusPlus", r"decoder\.blocks\.x_\d+_\d+\."),
    ("MAnet", r"decoder\.center\.(top|center|bottom)_conv"),
    ("PAN", r"decoder\.(fpa|gau)"),
    ("DeepLabV3Plus", r"decoder\.(block1|aspp\.0\.convs)"),
    ("DeepLabV3", r"decoder\.aspp\.(convs|project)\."),
    ("UPerNet", r"decoder\.(fpn_lateral|fpn_conv)"),
    ("PSPNet", r"decoder\.psp\.blocks\."),
    ("Segformer", r"decoder\.mlp_stage"),
    ("FPN", r"decoder\.(p5|seg_blocks)"),
    ("DPT", r"decoder\.(projection|reassemble|fusion)"),
    ("Linknet", r"decoder\.blocks\.0\.block\."),
    ("Unet", r"decoder\.blocks\.0\.conv1\."),
)
# A pattern of an encoder's keys, and a pattern of the names of smp's encoders with such keys.
_ENCODERS = (
    (r"encoder\.layer1\.0\.", r"(se_)?(resnet|resnext)\d+.*|senet154|timm-skres.*"),
    (r"encoder\._blocks\.", r"efficientnet-b\d"),
    (r"encoder\.features\.denseblock", r"densenet\d+"),
    (r"encoder\.features\.\d+\.conv\.", r"mobilenet_v2"),
    (r"encoder\.features\.\d+\.", r"vgg.*|mobilenet_v2|inceptionv4"),
    (r"encoder\.(patch_embed|block)\d", r"mit_b\d"),
    (r"encoder\.stage\d\.\d+\.", r"mobileone_s\d"),
    (r"encoder\.(blocks|conv_stem)", r"timm-.*"),
)
# Patterns of keys of other projects' networks.
_OTHERS = (
    (r"(^|\.)model\.\d+\.(submodule|adn|conv\.unit\d|conv\.adn)", "a MONAI UNet"),
    (r"(^|\.)(convInit|down_layers|up_layers)\.", "a MONAI SegResNet"),
    (r"(^|\.)(swinViT|vit)\.", "a MONAI transformer network"),
    (r"(^|\.)encoder\.stages\.\d+\.\d*\.?(convs|blocks)\.", "an nnU-Net network, which `medseg import volume` takes"),
    (r"(^|\.)segformer\.encoder\.", "a SegFormer of Hugging Face"),
    (r"(^|\.)backbone\..*", "a torchvision or mmsegmentation network"),
    (r"(^|\.)(inc|down1|up1)\.", "a U-Net of the Pytorch-UNet project"),
)


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """The full names and the shapes of all tensors in a checkpoint. Raises InputError as `content_of` does."""
    return dict(_shapes(content_of(file), ""))


def looks_like(file: Path) -> str:
    """What the checkpoint looks like, as a part of a sentence."""
    return said(shapes_of(file))


def said(shapes: Shapes) -> str:
    """What tensors of these names and shapes look like, and what to do if it is not a network of smp."""
    plain = _without_prefix(shapes)
    name = next((name for name, sign in _DECODERS if _any(sign, plain)), "")
    if name and any(key.startswith("encoder.") for key in plain):
        outputs = plain.get(_HEAD, (0,))[0]
        classes = f", {outputs} {'class' if outputs == 1 else 'classes'}" if outputs else ""
        return f"it looks like an smp {name} with {encoder_words(plain)}{classes}"
    other = next((words for sign, words in _OTHERS if _any(sign, shapes)), "")
    if other:
        flat = any(len(shape) == 5 for shape in shapes.values())
        kind = f"{other}{' (3-D)' if flat else ' (2-D)' if 'MONAI' in other else ''}"
        return f"it looks like {kind}, which is not a network of smp: {_EXPORT}"
    return f"its keys are not those of an smp network ({', '.join(list(shapes)[:3])}): {_EXPORT}"


def encoder_words(shapes: Shapes) -> str:
    """The encoder of a network of smp, in words."""
    found = encoder_of(shapes)
    if found:
        return f"{'an' if found[0] in 'aeiou' else 'a'} {found} encoder"
    return "an encoder of timm (tu-...)" if _any(r"encoder\.model\.", shapes) else "its own encoder"


def encoder_of(shapes: Shapes) -> str:
    """smp's name of the encoder that has exactly these tensors; "" where no candidate fits."""
    import segmentation_models_pytorch as smp

    own = {key: shape for key, shape in shapes.items() if key.startswith("encoder.") and "num_batches" not in key}
    pattern = next((names for sign, names in _ENCODERS if _any(sign, own)), "")
    for name in smp.encoders.get_encoder_names() if pattern else ():
        if re.fullmatch(pattern, name) and _alike(name, own):
            return name
    return ""


def channels_of(file: Path) -> int | None:
    """The number of input channels, 1 or 3, by the first convolution of the encoder; None where it is neither."""
    first = next((shape for key, shape in shapes_of(file).items() if len(shape) == 4 and "encoder." in key), None)
    return first[1] if first and first[1] in (1, 3) else None


def outputs_of(file: Path) -> int | None:
    """The number of output channels, by the segmentation head; None where there is none."""
    heads = (shape for key, shape in shapes_of(file).items() if key.endswith(_HEAD))
    return next((shape[0] for shape in heads), None)


def _alike(name: str, own: Shapes) -> bool:
    """Whether smp's encoder of this name has these tensors. It is built on the meta device, without its numbers."""
    try:
        with torch.device("meta"):
            encoder = smp_network("linknet", name, {}, 3, 1).get_submodule("encoder")
    except Exception:  # some encoders cannot be built on the meta device, or with this decoder
        return False
    expected = {
        f"encoder.{key}": tuple(value.shape) for key, value in encoder.state_dict().items() if "num_batches" not in key
    }
    missing = expected.keys() - own.keys()
    # Only the first size is compared: for grey pictures, the first convolution has 1 input channel instead of 3.
    alike = (own[key][:1] == shape[:1] for key, shape in expected.items() if key in own)
    return not missing and len(own) == len(expected) and all(alike)


def _without_prefix(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes under smp's own names, without the prefixes of wrappers; other names stay."""
    found = {}
    for key, shape in shapes.items():
        place = re.search(r"(?:^|\.)((?:encoder|decoder|segmentation_head)\..*)", key)
        found[place[1] if place else key] = shape
    return found


def _shapes(value: Any, where: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(value, torch.Tensor):
        yield where, tuple(value.shape)
    elif isinstance(value, Mapping) and where.count(".") < 64 and not {"state", "param_groups"} <= set(map(str, value)):
        for key, entry in value.items():
            yield from _shapes(entry, f"{where}.{key}" if where else str(key))


def _any(sign: str, shapes: Shapes) -> bool:
    pattern = re.compile(sign)
    return any(pattern.search(key) for key in shapes)
