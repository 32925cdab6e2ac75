"""What a request may say about its tensors, over HTTP or gRPC: checked before Triton sees any of it.

Triton's own JSON reader ends the server for a deep or an absurd text, and a shape whose product leaves 64 bits ends a
model's process. So a description is read here, and Triton gets it written anew: names, types and shapes, never values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.errors import InputError

MOST_BYTES = 512 << 20  # of one request; a CT of 768 slices is 400 MB
MOST_SHARED = 64 << 30  # of one input in shared memory, which crosses no wire
MOST_TEXT = 64 << 10  # of a description; one of ours has less than 1 KB
_MOST_TENSORS, _MOST_AXES = 64, 8
_BYTES = dict.fromkeys(("BOOL", "UINT8", "INT8"), 1) | dict.fromkeys(("UINT16", "INT16", "FP16", "BF16"), 2)
_BYTES |= dict.fromkeys(("UINT32", "INT32", "FP32"), 4) | dict.fromkeys(("UINT64", "INT64", "FP64"), 8)
_REGION = "shared_memory_region"
_MEMORY = {_REGION: str, "shared_memory_offset": int, "shared_memory_byte_size": int}
_SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class Sent:
    """One input as its request describes it. `size` is its bytes in the request; None where shared memory has them."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int | None
    shared: int = 0  # its bytes in shared memory


def check_inputs(inputs: Sequence[Sent]) -> None:
    """Raise InputError for inputs whose bytes are not what their shapes say, or are more than one request holds."""
    if len(inputs) > _MOST_TENSORS:
        raise InputError(f"the request has {len(inputs)} inputs; expected at most {_MOST_TENSORS}")
    for one in inputs:
        if one.datatype not in _BYTES:
            raise InputError(f"input {one.name!r} is {one.datatype!r}; expected one of {', '.join(_BYTES)}")
        room = math.prod(max(size, 1) for size in one.shape) * _BYTES[one.datatype]
        most = MOST_BYTES if one.size is not None else MOST_SHARED
        if len(one.shape) > _MOST_AXES or any(size < 0 for size in one.shape) or room > most:
            where = "" if one.size is not None else " in shared memory"
            expected = f"at most {_MOST_AXES} axes, none below 0, and {most >> 20} MiB{where}"
            raise InputError(f"input {one.name!r} has shape {one.shape}; expected {expected}")
        size, came = math.prod(one.shape) * _BYTES[one.datatype], one.shared if one.size is None else one.size
        if came != size:
            raise InputError(f"input {one.name!r} came with {came} bytes; expected {size}, as its shape says")


def rewritten(text: bytes, binary: int, trusted: bool, name: str = "") -> bytes:
    """An HTTP request's description, checked and written anew; `binary` is the bytes that follow it.

    `trusted` clients may point into shared memory; `name` is the id of a request that has none. Raises InputError for
    what is not binary tensors.
    """
    asked = _fields(_parsed(text), "the request", ("inputs",), ("id", "parameters", "outputs"))
    _scalars(asked.get("parameters", {}), "the request")
    inputs = [_input(entry, trusted) for entry in _list(asked["inputs"], "inputs")]
    check_inputs(inputs)
    if sum(one.size or 0 for one in inputs) != binary:
        raise InputError(
            f"the request has {binary} bytes of tensors; expected {sum(one.size or 0 for one in inputs)}, as it says"
        )
    for entry in _list(asked.get("outputs", []), "outputs"):
        _check_output(entry, trusted)
    by_default = asked.get("parameters", {}).get("binary_data_output") is True
    if not by_default and not all(_binary(entry) for entry in asked.get("outputs") or [{}]):
        raise InputError("the request asks for outputs as JSON; expected 'binary_data': true for each of them")
    return json.dumps({"id": name} | asked if name else asked).encode()


def _parsed(text: bytes) -> Any:
    if len(text) > MOST_TEXT:
        raise InputError(
            f"the request's JSON has {len(text)} bytes; expected at most {MOST_TEXT}: tensors are sent as binary data"
        )
    try:
        return json.loads(text.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError("the request's description cannot be read; expected JSON") from error


def _no_number(name: str) -> None:
    raise ValueError(name)


def _input(entry: Any, trusted: bool) -> Sent:
    known = _fields(entry, "an input", ("name", "shape", "datatype"), ("parameters",))
    name, datatype, shape = _text(known["name"]), _text(known["datatype"]), _list(known["shape"], "shape")
    if not all(type(size) is int for size in shape):
        raise InputError(f"input {name!r} has a shape that is not a list of whole numbers")
    options = known.get("parameters", {})
    if isinstance(options, dict) and _REGION in options:
        _check_memory(options, trusted)
        return Sent(name, datatype, tuple(shape), None, options["shared_memory_byte_size"])
    size = _fields(options, f"the parameters of input {name!r}", ("binary_data_size",), ())["binary_data_size"]
    if type(size) is not int or size < 0:
        raise InputError(f"input {name!r} has a binary_data_size that is not a whole number")
    return Sent(name, datatype, tuple(shape), size)


def _check_output(entry: Any, trusted: bool) -> None:
    known = _fields(entry, "an output", ("name",), ("parameters",))
    _text(known["name"])
    options = known.get("parameters", {})
    _scalars(options, "an output")
    if _REGION in options:
        _check_memory(options, trusted)


def _binary(output: Mapping[str, Any]) -> bool:
    options = output.get("parameters", {})
    return options.get("binary_data") is True or _REGION in options


def _check_memory(options: Mapping[str, Any], trusted: bool) -> None:
    check_memory(trusted)
    _fields(options, "shared memory", (_REGION, "shared_memory_byte_size"), ("shared_memory_offset",))
    if not all(type(value) is _MEMORY[key] for key, value in options.items()):
        raise InputError("a region of shared memory must be given by a name and whole numbers; this one is not")


def check_memory(trusted: bool) -> None:
    """Raise InputError where shared memory is not for this client."""
    if not trusted:
        raise InputError("shared memory is for clients of the server's own user; send the tensor's bytes")


def _fields(entry: Any, what: str, needed: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """The entry, an object that has the needed keys and no others than these."""
    if not isinstance(entry, dict) or not set(needed) <= set(entry) <= {*needed, *optional}:
        found = ", ".join(map(repr, list(entry)[:8])) if isinstance(entry, dict) else type(entry).__name__
        values = "; values are sent as binary data, not as JSON" if isinstance(entry, dict) and "data" in entry else ""
        raise InputError(f"{what} holds {found or 'nothing'}; expected {', '.join([*needed, *optional])}{values}")
    return entry


def _scalars(entry: Any, what: str) -> None:
    values = entry.values() if isinstance(entry, dict) else [None]
    if not all(isinstance(value, _SCALARS) and (isinstance(value, str) or abs(value) < 2**63) for value in values):
        raise InputError(f"the parameters of {what} are not valid; expected texts and numbers by name")


def _list(entry: Any, what: str) -> list[Any]:
    if not isinstance(entry, list):
        raise InputError(f"{what} is {type(entry).__name__}; expected a list")
    return entry


def _text(entry: Any) -> str:
    if not isinstance(entry, str) or len(entry) > 200:
        raise InputError("a name or type of the request is not a text of at most 200 characters")
    return entry
