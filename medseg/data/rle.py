"""Run-length text, as the UW-Madison competition writes masks: "start length start length ...", 1-based, row by row."""

from __future__ import annotations

import numpy as np

from medseg.errors import InputError
from medseg.task import Array


def decode(text: str, shape: tuple[int, int]) -> Array:
    """The mask (row, col) uint8 0/1 of run-length text; no text is an empty mask.

    Raises InputError where the text is no such pairs, or a run leaves the picture.
    """
    starts, lengths = _runs(text)
    ends, size = starts + lengths, shape[0] * shape[1]
    if starts.size and (starts.min() < 0 or lengths.min() < 1 or ends.max() > size):
        raise InputError(
            f"run lengths reach pixel {ends.max()} of {size}; expected runs inside {shape[0]} x {shape[1]}"
        )
    edges = np.zeros(size + 1, np.int32)
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    return (np.cumsum(edges[:-1]) > 0).astype(np.uint8).reshape(shape)


def encode(mask: Array) -> str:
    """The run-length text of a mask (row, col): the shortest, its runs in order; empty where no pixel is set."""
    edges = np.flatnonzero(np.diff(np.pad(mask.ravel() > 0, 1).astype(np.int8)))
    starts, lengths = edges[::2] + 1, edges[1::2] - edges[::2]
    return " ".join(map(str, np.stack([starts, lengths], axis=1).ravel()))


def pixels(text: str) -> int:
    """How many pixels run-length text sets, without decoding it, where its runs do not overlap."""
    return int(_runs(text)[1].sum())


def _runs(text: str) -> tuple[Array, Array]:
    """Starts, counted from 0, and lengths (n,) int64."""
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"run lengths {text[:40]!r} hold something else than whole numbers: correct the text"
        ) from error
    if len(numbers) % 2:
        raise InputError(
            f"run lengths hold {len(numbers)} numbers; expected pairs of start and length: correct the text"
        )
    return numbers[::2] - 1, numbers[1::2]
