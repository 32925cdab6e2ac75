"""The description of a network that no built-in task knows: `segmentation.json`, what a run needs to be asked.

Here is what pictures and volumes share. What is a kind's own (sizes, spacings, patches ...) is checked by that kind's
`Kind` and handed on in `Description.own`; everything unknown is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import RunError
from medseg.schema import Check, a, closed, count, either, mapping, one_of, read_json, sequence, text, within

DESCRIPTION = "segmentation.json"
FORMAT = 1
BACKGROUND = 0  # the value of what is none of the classes
_REMEDY = "correct it, or import again"
_LARGEST_VALUE, _MOST_CLASSES, _MOST_CHANNELS = 255, 255, 64


@dataclass(frozen=True)
class Channel:
    """One channel of the input; `normalisation` is the kind's own record of how its values become the network's."""

    name: str
    normalisation: Mapping[str, Any]
    modality: str = ""


@dataclass(frozen=True)
class Code:
    """What a class means in a terminology, for example SCT 39607008 "Lung"."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Class:
    """What is looked for: a value of the mask, or a region, the union of several values."""

    name: str
    value: int | None = None
    region: tuple[int, ...] = ()
    colour: tuple[int, int, int] | None = None
    codes: tuple[Code, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a network comes from and under which terms."""

    project: str = ""
    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # name -> sha256
    license: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Description:
    """What a run's network expects and answers, as far as all kinds share it."""

    kind: str
    channels: tuple[Channel, ...]
    classes: tuple[Class, ...]
    activation: str  # softmax: one class a pixel; sigmoid: each class for itself
    own: Mapping[str, Any]  # the kind's own entries, checked
    threshold: float = 0.5  # of sigmoid: the probability from which on a pixel is the class's
    title: str = ""
    source: Source = Source()


@dataclass(frozen=True)
class Kind:
    """What only one kind of description has: its channels' normalisation, and its own entries."""

    name: str
    normalisation: Check
    required: Mapping[str, Check]
    optional: Mapping[str, Check] = field(default_factory=dict)


def read_description(folder: Path, kind: Kind) -> Description:
    """The description in a run's folder. Raises RunError where there is none, or it is not as it must be."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise RunError(f"{folder} has no {DESCRIPTION}; expected a run of task {kind.name!r}: import or train again")
    try:
        document = read_json(path)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path} is not valid JSON ({reason}); expected a description: {_REMEDY}") from error
    return described(document, kind, str(path))


def described(document: Any, kind: Kind, name: str) -> Description:
    """The description that a document holds. Raises RunError naming the first thing that is wrong with it."""
    found = document.get("format") if isinstance(document, dict) else None
    if either(found, int) and found != FORMAT:
        raise RunError(f"{name} has format {found}; this medseg reads format {FORMAT}: import again with this version")
    problem = _schema(kind)(document, "it")
    if problem:
        raise RunError(f"{name} is not a {kind.name}'s description: {problem.removeprefix('it.')}; {_REMEDY}")
    description = _from(document, kind)
    problem = next(_contradictions(description, document), None)
    if problem:
        raise RunError(f"{name} contradicts itself: {problem}; {_REMEDY}")
    return description


def document_of(description: Description) -> dict[str, Any]:
    """The description as it is written: a JSON object, without what is empty."""
    threshold = {"threshold": description.threshold} if description.activation == "sigmoid" else {}
    source = _filled(vars(description.source))
    return {
        "format": FORMAT,
        "kind": description.kind,
        **_filled({"title": description.title}),
        "channels": [_channel_document(channel) for channel in description.channels],
        "classes": [_class_document(one) for one in description.classes],
        "activation": description.activation,
        **threshold,
        **description.own,
        **_filled({"source": source}),
    }


def text_of(description: Description) -> str:
    """The file's text."""
    return json.dumps(document_of(description), indent=2) + "\n"


def _channel_document(channel: Channel) -> dict[str, Any]:
    modality = _filled({"modality": channel.modality})
    return {"name": channel.name, **modality, "normalisation": dict(channel.normalisation)}


def _class_document(one: Class) -> dict[str, Any]:
    codes = [dict(vars(code)) for code in one.codes]
    return _filled({**vars(one), "region": list(one.region), "colour": list(one.colour or ()), "codes": codes})


def _filled(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that say something."""
    return {name: value for name, value in entries.items() if value not in (None, "", (), [], {})}


_NAME = a(
    "a name of up to 80 characters, without slashes",
    lambda value: isinstance(value, str) and 0 < len(value) <= 80 and value.isprintable() and not _odd(value),
    quoted=True,
)
_VALUE = count(BACKGROUND, _LARGEST_VALUE)
_CODE = closed({"scheme": text(64), "value": text(64), "meaning": text(256)})
_CLASS = closed(
    {"name": _NAME},
    {
        "value": _VALUE,
        "region": sequence(_VALUE),
        "colour": sequence(count(0, 255), 3),
        "codes": sequence(_CODE),
    },
)
_SOURCE = closed(
    {},
    {"project": text(), "version": text(), "files": mapping(text(64)), "license": text(), "citation": text(1 << 16)},
)


def _odd(name: str) -> bool:
    """Whether a name cannot be a part of a file's name."""
    return name[0] in ". " or name[-1] == " " or bool(set(name) & set('/\\:*?"<>|'))


def _schema(kind: Kind) -> Check:
    channel = closed({"name": _NAME, "normalisation": kind.normalisation}, {"modality": text(64)})
    return closed(
        {
            "format": count(FORMAT, FORMAT),
            "kind": one_of(kind.name),
            "channels": _some(channel, _MOST_CHANNELS),
            "classes": _some(_CLASS, _MOST_CLASSES),
            "activation": one_of("softmax", "sigmoid"),
            **kind.required,
        },
        {"title": text(256), "threshold": within(0, 1), "source": _SOURCE, **kind.optional},
    )


def _some(item: Check, most: int) -> Check:
    """A list of at least one such item and not too many."""
    every = sequence(item)

    def check(value: Any, where: str) -> str | None:
        if isinstance(value, list) and not 1 <= len(value) <= most:
            return f"{where} has {len(value)} entries; expected 1 to {most}"
        return every(value, where)

    return check


def _from(document: Mapping[str, Any], kind: Kind) -> Description:
    own = {name: document[name] for name in (*kind.required, *kind.optional) if name in document}
    return Description(
        kind=kind.name,
        channels=tuple(Channel(**channel) for channel in document["channels"]),
        classes=tuple(map(_class, document["classes"])),
        activation=document["activation"],
        own=own,
        threshold=document.get("threshold", 0.5),
        title=document.get("title", ""),
        source=Source(**document.get("source", {})),
    )


def _class(entry: Mapping[str, Any]) -> Class:
    colour = entry.get("colour")
    return Class(
        entry["name"],
        entry.get("value"),
        tuple(entry.get("region", ())),
        (colour[0], colour[1], colour[2]) if colour else None,
        tuple(Code(**code) for code in entry.get("codes", ())),
    )


def _contradictions(description: Description, document: Mapping[str, Any]) -> Iterator[str]:
    for what, entries in (("channels", description.channels), ("classes", description.classes)):
        if twice := _twice([entry.name.casefold() for entry in entries]):
            yield f"two {what} have the name {twice!r}"
    for one in description.classes:
        if (one.value is None) == (not one.region):
            has = "neither a value nor a region" if one.value is None else "both a value and a region"
            yield f"class {one.name!r} has {has}; expected one of them"
    values = [one.value for one in description.classes if one.value is not None]
    if twice := _twice(values):
        yield f"two classes have the value {twice}"
    if description.activation == "softmax":
        if "threshold" in document:
            yield "softmax has a threshold, but takes the most probable class; expected none"
        if len(values) < len(description.classes):
            yield "softmax has regions, which may overlap; expected sigmoid"
        yield from _gaps(values)


def _gaps(values: Sequence[int]) -> Iterator[str]:
    """Of softmax the network's channels are the values: 0 is the background where no class has it."""
    expected = list(range(min(values, default=1), len(values) + min(values, default=1)))
    if sorted(values) != expected or min(values, default=1) > 1:
        yield f"the classes have the values {', '.join(map(str, sorted(values)))}; expected 1, 2, ... or 0, 1, ..."


def _twice(entries: Sequence[Any]) -> Any:
    return next((entry for entry, times in Counter(entries).items() if times > 1), None)
