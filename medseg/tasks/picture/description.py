"""`segmentation.json` of kind picture: the entries that other kinds of description do not have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.data.encoded import MAX_SIDE
from medseg.description import BACKGROUND, DESCRIPTION, Description, Kind, described
from medseg.errors import RunError
from medseg.schema import Check, a, closed, count, either, number, one_of, record, text

LEAST_SIDE = 8  # pixels of a network's input
_SIDE, _FILL = count(LEAST_SIDE, MAX_SIDE), count(0, 65535)
_NUMBER = a("a finite number", number)
_SPREAD = a("a number above 0", lambda value: number(value) and value > 0, quoted=True)
_SHIFTED = {"mean": _NUMBER, "std": _SPREAD}

# How a channel's values are normalised. The scheme comes first; then `mean` is subtracted, and `std` divides.
_SCHEMES = {
    "range": closed({"scheme": text(), "low": _NUMBER, "high": _NUMBER}, _SHIFTED),  # low becomes 0, high 1
    "picture-range": closed({"scheme": text()}, _SHIFTED),  # the picture's darkest value becomes 0, its brightest 1
    "picture-maximum": closed({"scheme": text()}, _SHIFTED),  # 0 stays 0, the picture's brightest value becomes 1
    "picture-z-score": closed({"scheme": text()}),  # mean 0 and standard deviation 1 over all channels together
    "channel-z-score": closed({"scheme": text()}),  # the same, separately for each channel
}
_RULES = {
    "stretch": closed({"rule": text(), "height": _SIDE, "width": _SIDE}),
    "fit": closed({"rule": text(), "height": _SIDE, "width": _SIDE}, {"fill": _FILL}),
    "pad": closed({"rule": text(), "height": _SIDE, "width": _SIDE, "multiple": count(1, 256)}, {"fill": _FILL}),
}


def _chosen(name: str, kinds: Mapping[str, Check]) -> Check:
    """The check of an object whose entry `name` says which of the kinds it is."""
    named = record({name: one_of(*kinds)})

    def check(value: Any, where: str) -> str | None:
        return named(value, where) or kinds[value[name]](value, where)

    return check


_OPTION = a(
    "a number, a text, a truth value, nothing, or a list of numbers",
    lambda value: (
        value is None
        or either(value, str, int, float, bool)
        or (isinstance(value, list) and all(either(one, int, float) for one in value))
    ),
)


def _options(value: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where} is not an object; expected the architecture's options"
    return next((wrong for name, one in value.items() if (wrong := _OPTION(one, f"{where}.{name[:80]}"))), None)


KIND = Kind(
    "picture",
    normalisation=_chosen("scheme", _SCHEMES),
    required={
        "colours": one_of("grey", "rgb"),
        "bits": a("8 or 16", lambda value: either(value, int) and value in (8, 16), quoted=True),
        "size": _chosen("rule", _RULES),
        "resampling": one_of("bilinear", "area"),
        "resized_back": one_of("logits", "masks"),
    },
    optional={"architecture": closed({"name": text(80), "encoder": text(200)}, {"options": _options})},
)


@dataclass(frozen=True)
class Size:
    """How a picture gets the network's size. Height and width are in pixels.

    `stretch`: the picture is resized to height and width. `fit`: it keeps its proportions and is resized until it just
    fits; the rest below and to the right is filled. `pad`: it keeps its size and is filled up to a multiple. Engines
    are then tuned for height and width.
    """

    rule: str
    height: int
    width: int
    multiple: int = 1
    fill: int = 0  # the value of filled pixels, in the picture's own unit

    @property
    def free(self) -> bool:
        """Whether the network's size can differ from picture to picture."""
        return self.rule == "pad"


@dataclass(frozen=True)
class Architecture:
    """A network of segmentation-models-pytorch: its name, its encoder, and options that differ from the defaults."""

    name: str
    encoder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """The input and output of a network for pictures."""

    shared: Description
    colours: str  # of the files: grey or rgb; with three channels, a grey picture is repeated in each
    bits: int
    size: Size
    resampling: str  # to the network's size: bilinear without antialiasing, or the mean over areas
    resized_back: str  # what is resized to the picture's size: the logits, which are smooth, or the masks
    architecture: Architecture | None  # None for a network that is a program or a graph

    @property
    def softmax(self) -> bool:
        """Whether each pixel has one class."""
        return self.shared.activation == "softmax"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the network's channels."""
        return tuple(one.name for one in self.shared.classes)

    @property
    def before(self) -> int:
        """How many output channels come before the classes: 1 for the background of softmax, else 0."""
        values = [one.value for one in self.shared.classes]
        return int(self.softmax and BACKGROUND not in values)

    @property
    def outputs(self) -> int:
        """The number of the network's output channels."""
        return self.before + len(self.classes)


def picture_of(content: str) -> Picture:
    """The description in a JSON text. Raises RunError with the first thing that is wrong in it."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{DESCRIPTION} is not valid JSON; expected a description: import or train again") from error
    shared = described(document, KIND, DESCRIPTION)
    own = shared.own
    architecture = Architecture(**own["architecture"]) if "architecture" in own else None
    others = (own["colours"], own["bits"], Size(**own["size"]), own["resampling"], own["resized_back"])
    found = Picture(shared, *others, architecture)
    problem = next(_contradictions(found), None)
    if problem:
        raise RunError(f"{DESCRIPTION} contradicts itself: {problem}; correct it, or import again")
    return found


def known(picture: Picture | None) -> Picture:
    """The description itself. Raises RunError where there is none, because no run was given."""
    if picture is None:
        raise RunError("the task 'picture' needs a run that describes its network: give one with --run")
    return picture


def own_entries(picture: Picture) -> dict[str, Any]:
    """The entries that only descriptions of kind picture have, as they are written to JSON."""
    size = {"rule": picture.size.rule, "height": picture.size.height, "width": picture.size.width}
    size |= {"multiple": picture.size.multiple} if picture.size.free else {}
    size |= {"fill": picture.size.fill} if picture.size.rule != "stretch" else {}
    entries: dict[str, Any] = {
        "colours": picture.colours,
        "bits": picture.bits,
        "size": size,
        "resampling": picture.resampling,
        "resized_back": picture.resized_back,
    }
    if picture.architecture:
        one = picture.architecture
        entries["architecture"] = {"name": one.name, "encoder": one.encoder, "options": dict(one.options)}
    return entries


def _contradictions(picture: Picture) -> Iterator[str]:
    shared, count = picture.shared, len(picture.shared.channels)
    allowed = (1, 3) if picture.colours == "grey" else (3,)
    if count not in allowed:
        yield f"{picture.colours} pictures and {count} channels; expected {' or '.join(map(str, allowed))}"
    for channel in shared.channels:
        how = channel.normalisation
        if how["scheme"] == "range" and not how["low"] < how["high"]:
            yield f"channel {channel.name!r} has the range {how['low']} to {how['high']}; expected a low below the high"
    schemes = {channel.normalisation["scheme"] for channel in shared.channels}
    if len(schemes) > 1:
        yield f"channels are normalised as {' and '.join(sorted(schemes))}; expected one scheme for all"
    if any(one.region for one in shared.classes):
        yield "classes have regions, which masks of pictures cannot have; expected values"
    values = [one.value for one in shared.classes]
    if values != sorted(values, key=lambda value: value or 0):
        yield f"the classes have the values {', '.join(map(str, values))}; expected them in ascending order"
    if not picture.softmax and BACKGROUND in values:
        yield "a class of sigmoid has the value 0, which means no class; expected 1, 2, ..."
    size = picture.size
    if size.free and (size.height % size.multiple or size.width % size.multiple):
        yield f"height {size.height} and width {size.width} are no multiples of {size.multiple}"
    if size.fill >= 1 << picture.bits:
        yield f"fill is {size.fill}; expected a value of {picture.bits} bits"
