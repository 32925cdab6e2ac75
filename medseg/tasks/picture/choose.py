"""Makes a description from the options of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.bringing import NetworkOptions
from medseg.description import Channel, Class, Description, text_of
from medseg.errors import InputError, RunError
from medseg.tasks.picture.description import Architecture, Picture, Size, own_entries, picture_of
from medseg.tasks.picture.layout import class_names, entries, one_file_a_class
from medseg.tasks.picture.reader import kind_in, named_classes
from medseg.tasks.picture.truth import labels_of

ARCH, ENCODER, SIDE, MULTIPLE = "unet", "resnet34", "256", 32
_RGB, _GREY = ("red", "green", "blue"), ("grey", "grey again", "grey once more")
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_WORDS = {
    "unit": "range",
    "imagenet": "range",
    "picture-range": "picture-range",
    "picture-maximum": "picture-maximum",
    "picture-z-score": "picture-z-score",
    "channel-z-score": "channel-z-score",
}


def begun(data: Path, choices: NetworkOptions) -> str:
    """The description of a new network that will be trained on a data folder.

    Colours and bits are those of the folder's first picture. Raises InputError for choices that are unknown or do not
    fit each other or the folder.
    """
    if choices.describe:
        return said(choices.describe, choices)
    from medseg.models.foreign import architecture_named, check_encoder

    colours, bits = kind_in(data)
    names = classes_of(choices.classes) if choices.classes else _named_in(data)
    overlapping = len(names) == 1 or one_file_a_class(data)
    activation = activation_of(choices.activation) or ("sigmoid" if overlapping else "softmax")
    encoder = choices.encoder or ENCODER
    check_encoder(encoder)
    size = size_of(choices.size or SIDE)
    if size.free:
        raise InputError(f"--size is {choices.size}; a fit needs one size: give height and width, such as 256x320")
    usual = "unit" if bits == 8 else "picture-range"
    return described(
        Picture(
            Description(
                "picture",
                channels(colours, bits, 1 if colours == "grey" else 3, choices.normalisation or usual),
                named_classes(names),
                activation,
                {},
            ),
            colours,
            bits,
            size,
            "area",
            "logits",
            Architecture(architecture_named(choices.arch or ARCH), encoder),
        )
    )


def described(picture: Picture) -> str:
    """The text of a description. Raises InputError where it contradicts itself."""
    text = text_of(replace(picture.shared, own=own_entries(picture)))
    try:
        picture_of(text)
    except RunError as error:
        raise InputError(str(error)) from error
    return text


def said(path: Path, choices: NetworkOptions) -> str:
    """The text of a description file. Raises InputError where it is not valid, or options repeat what it states."""
    others = ("arch", "encoder", "classes", "activation", "size", "normalisation")
    if twice := [name for name in others if getattr(choices, name) is not None]:
        raise InputError(f"--describe and --{twice[0]}: the description states it already: leave --{twice[0]} out")
    try:
        text = path.read_text()
        picture_of(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a description: check the path") from error
    except RunError as error:
        raise InputError(f"{path}: {error}") from error
    return text


def _named_in(data: Path) -> tuple[str, ...]:
    """The classes that the folder names, else the labels of its LabelMe files. Raises InputError for neither."""
    names = class_names(data) or tuple(sorted({label for entry in entries(data) for label in labels_of(entry)}))
    if not names:
        raise InputError(f"{data} does not name its classes; expected --classes with the names of 1, 2, ...: give them")
    return names


def classes_of(words: str) -> tuple[str, ...]:
    """The names in `a,b`. Raises InputError for an empty one."""
    names = tuple(word.strip() for word in words.split(","))
    if not all(names):
        raise InputError(f"--classes is {words!r}; expected names such as tumour,vessel")
    return names


def activation_of(word: str | None) -> str | None:
    """The word itself if it is softmax, sigmoid or None. Raises InputError for another word."""
    if word not in (None, "softmax", "sigmoid"):
        raise InputError(
            f"--activation is {word!r}; expected softmax (one class per pixel) or sigmoid (each class independently)"
        )
    return word


def size_of(words: str) -> Size:
    """The size that `256`, `256x320` (height, width), `fit:256x320` or `keep` means. Raises InputError for others."""
    if words == "keep":
        return Size("pad", 16 * MULTIPLE, 16 * MULTIPLE, MULTIPLE)
    match = re.fullmatch(r"(fit:)?(\d{1,5})(?:x(\d{1,5}))?", words)
    if not match:
        raise InputError(
            f"--size is {words!r}; expected a side such as 256, height and width such as 256x320 or fit:256x320, or "
            "keep, which pads pictures to multiples of 32"
        )
    return Size("fit" if match[1] else "stretch", int(match[2]), int(match[3] or match[2]))


def channels(colours: str, bits: int, count: int, words: str) -> tuple[Channel, ...]:
    """The channels with their normalisation. Raises InputError for an unknown normalisation."""
    names = _RGB if colours == "rgb" else _GREY[:count]
    return tuple(Channel(name, _normalisation(words, bits, index)) for index, name in enumerate(names))


def _normalisation(words: str, bits: int, index: int) -> Mapping[str, Any]:
    """A channel's normalisation, from its name or from two values that become 0 and 1."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)", words)
    if match:
        return {"scheme": "range", "low": float(match[1]), "high": float(match[2])}
    if words not in _WORDS:
        raise InputError(
            f"--normalisation is {words!r}; expected one of {', '.join(_WORDS)}, or the values that become 0 and 1, "
            "such as 0,255"
        )
    made: dict[str, Any] = {"scheme": _WORDS[words]}
    if made["scheme"] == "range":
        made |= {"low": 0, "high": (1 << bits) - 1}
    return made | ({name: values[index] for name, values in _IMAGENET.items()} if words == "imagenet" else {})


def answering(count: int, names: Sequence[str], activation: str | None) -> tuple[tuple[Class, ...], str]:
    """The classes and the activation of a network with `count` output channels.

    With as many names as channels, the default is sigmoid: each class is independent. With one name fewer, it is
    softmax: one class per pixel, and the first channel is the background. Raises InputError where they do not fit.
    """
    if not names:
        single = count == 1 or activation == "sigmoid"
        names = [f"class {number}" for number in range(1, count + single)] if count > 1 else ["foreground"]
    chosen = activation or {count: "sigmoid", count - 1: "softmax"}.get(len(names), "")
    fits = {"sigmoid": (count,), "softmax": (count, count - 1)}
    if len(names) not in fits.get(chosen, ()) or (chosen == "softmax" and count < 2):
        raise InputError(
            f"the network answers with {count} channels, and --classes names {len(names)}; expected {count} names "
            f"(each class independently), or {count - 1} (one class per pixel, the first channel is the background)"
        )
    first = int(chosen == "sigmoid" or len(names) < count)
    return tuple(Class(name, value) for value, name in enumerate(names, first)), chosen
