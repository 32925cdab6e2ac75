"""Run-length text, the mask format of the UW-Madison competition: "start length start length ...".

Pixels are counted row by row, from 1.
"""

from __future__ import annotations

import re

import numpy as np

from medseg.errors import InputError
from medseg.task import Array

EMPTY = ("", "nan", "none", "null", "<na>")  # a missing text, as pandas, databases and users write it
_NUMBERS = re.compile(r"\d{1,18}(\s+\d{1,18})*", re.ASCII)


def decode(text: str, shape: tuple[int, int]) -> Array:
    """The mask (row, col) uint8 0/1 of run-length text. One of EMPTY, in upper or lower case, is an empty mask.

    Raises InputError where the text is not made of such pairs, its runs are not in order, or one leaves the picture.
    """
    starts, lengths = _runs(text)
    ends, size = starts + lengths, shape[0] * shape[1]
    if starts.size and ends.max() > size:
        raise InputError(
            f"run lengths reach pixel {ends.max()} of {size}; expected runs inside {shape[0]} x {shape[1]} pixels: "
            "correct the text"
        )
    edges = np.zeros(size + 1, np.int32)
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    return (np.cumsum(edges[:-1]) > 0).astype(np.uint8).reshape(shape)


def encode(mask: Array) -> str:
    """The shortest run-length text of a mask (row, col), with its runs in order; "" where no pixel is set."""
    edges = np.flatnonzero(np.diff(np.pad(mask.ravel() > 0, 1).astype(np.int8)))
    starts, lengths = edges[::2] + 1, edges[1::2] - edges[::2]
    return " ".join(map(str, np.stack([starts, lengths], axis=1).ravel()))


def pixels(text: str) -> int:
    """How many pixels run-length text sets, without decoding it. Raises InputError where the text is wrong."""
    return int(_runs(text)[1].sum())


def _runs(text: str) -> tuple[Array, Array]:
    """Starts, counted from 0, and lengths, each (n,) int64: runs in order, without overlap.

    Raises InputError where the text is wrong.
    """
    stripped = text.strip()
    if stripped.lower() in EMPTY:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not _NUMBERS.fullmatch(stripped):
        raise InputError(f"run lengths {stripped[:40]!r} hold something other than whole numbers: correct the text")
    numbers = np.array(stripped.split(), np.int64)
    if len(numbers) % 2:
        raise InputError(
            f"run lengths hold {len(numbers)} numbers; expected pairs of start and length: correct the text"
        )
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if starts.min() < 0:
        raise InputError("run lengths have a start of 0; expected starts that count from 1: add 1 to every start")
    if lengths.min() < 1:
        raise InputError("run lengths have a length of 0; expected 1 pixel or more: leave that run out")
    (back,) = np.nonzero(starts[1:] < (starts + lengths)[:-1])
    if len(back):
        raise InputError(
            f"run lengths have a run from {starts[back[0] + 1] + 1} behind one that ends at "
            f"{starts[back[0]] + lengths[back[0]]}; expected runs in order that do not overlap: correct the text"
        )
    return starts, lengths
