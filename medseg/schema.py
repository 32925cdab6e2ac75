"""Schemas: what a JSON document must hold, as functions that name the first thing wrong with a value."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Check = Callable[[Any, str], str | None]  # a value and where it stands -> what is wrong with it, None when it fits
LARGEST = 16 << 20  # bytes of a document
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}


def read_json(path: Path) -> Any:
    """The document in a file. Raises ValueError, in words, for what is no JSON, too large or too deeply nested."""
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size} bytes; expected at most {LARGEST}")
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def kind(value: Any) -> str:
    """What a value is, in words: a stranger's content is not quoted."""
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def a(expected: str, fits: Callable[[Any], bool], quoted: bool = False) -> Check:
    """A single value, described in words; `quoted` where the value itself may be told."""

    def check(value: Any, where: str) -> str | None:
        told = repr(value)[:80] if quoted and either(value, str, int, float) else kind(value)
        return None if fits(value) else f"{where} is {told}; expected {expected}"

    return check


def either(value: Any, *kinds: type) -> bool:
    """Whether a value is of one of these kinds; a truth value is no number."""
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def number(value: Any) -> bool:
    """Whether a value is a finite number, small enough for a float: JSON's whole numbers have no end."""
    return either(value, int, float) and abs(value) <= sys.float_info.max


def count(least: int, most: int) -> Check:
    """A whole number within bounds."""
    expected = f"a whole number from {least} to {most}"
    return a(expected, lambda value: either(value, int) and least <= value <= most, quoted=True)


def text(most: int = 4096) -> Check:
    """A text that is not too long."""
    return a(f"a text of up to {most} characters", lambda value: isinstance(value, str) and len(value) <= most)


def sequence(item: Check, length: int | None = None) -> Check:
    """A list of such items, of this length where one is given."""

    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, list) or length not in (None, len(value)):
            return f"{where} is {kind(value)}; expected a list{'' if length is None else f' of {length}'}"
        return first(item(entry, f"{where}[{index}]") for index, entry in enumerate(value))

    return check


def mapping(item: Check, name: Check | None = None) -> Check:
    """An object of such items, whose names fit `name`."""

    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, dict):
            return f"{where} is {kind(value)}; expected an object"
        names = first(name(key, f"a name in {where}") for key in value) if name else None
        return names or first(item(entry, f"{where}.{key[:80]}") for key, entry in value.items())

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these entries; others are free."""
    optional = optional or {}

    def check(value: Any, where: str) -> str | None:
        if not isinstance(value, dict):
            return f"{where} is {kind(value)}; expected an object"
        missing = [name for name in required if name not in value]
        if missing:
            return f"{where} has no entry {missing[0]!r}"
        known = {**required, **optional}
        return first(fits(value[name], f"{where}.{name}") for name, fits in known.items() if name in value)

    return check


def closed(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these entries and no others, so that a misspelt name is told instead of passed over."""
    fits, known = record(required, optional), {**required, **(optional or {})}

    def check(value: Any, where: str) -> str | None:
        unknown = [name for name in value if name not in known] if isinstance(value, dict) else []
        if unknown:
            return f"{where} has an unknown entry {str(unknown[0])[:80]!r}; expected {', '.join(known)}"
        return fits(value, where)

    return check


def within(least: float, most: float) -> Check:
    """A finite number within bounds."""
    expected = f"a number from {least:g} to {most:g}"
    return a(expected, lambda value: number(value) and least <= value <= most, quoted=True)


def one_of(*names: str) -> Check:
    """One of these texts."""
    return a(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names, quoted=True)


def first(problems: Iterable[str | None]) -> str | None:
    """The first problem, None where there is none."""
    return next((problem for problem in problems if problem), None)
