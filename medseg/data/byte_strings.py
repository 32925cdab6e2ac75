"""Byte strings as one uint8 tensor, each after its length: how pictures and text are sent to and from Triton.

Triton's own BYTES tensors are not used: the Python stub of the embedded server was built for numpy 1. Under numpy 2
it crashes on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.errors import InputError
from medseg.task import Array

_PREFIX = 4  # bytes of a length, little-endian


def framed(items: Sequence[bytes] | Array) -> Array:
    """One uint8 vector (bytes,): for each item its length as 4 bytes, little-endian, then the item."""
    parts = [part for item in items for part in (len(item).to_bytes(_PREFIX, "little"), item)]
    return np.frombuffer(b"".join(parts), np.uint8)


def unframed(vector: Array, name: str) -> Array:
    """The items (n,) as bytes. Raises InputError, with the tensor's name, where the lengths do not add up."""
    data, items, at = vector.tobytes(), [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + _PREFIX], "little")
        at += _PREFIX + size
        if at > len(data):
            raise InputError(
                f"tensor {name!r} announces {size} bytes where {len(data) - at + size} are left; "
                "expected for each item its length as 4 little-endian bytes, then the item"
            )
        items.append(data[at - size : at])
    found = np.empty(len(items), object)
    found[:] = items
    return found
