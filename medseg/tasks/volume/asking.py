"""A network applied to tiles: several at a time, mirrored if wanted, and only once for tiles of constant values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from threading import Lock

import numpy as np

from medseg.task import Array, Infer
from medseg.tasks.streaming import IN_FLIGHT, answers

_HELD = 1 << 29  # bytes of answers that wait to be blended; at least one answer
_KEPT = 1 << 28  # bytes of answers to tiles of one value


def asked(
    tiles: Iterator[Array], infer: Infer, mirrors: Sequence[int] = (), batch: int = 1, at_once: int = IN_FLIGHT
) -> Iterator[Array]:
    """The network's answer (k, ...) float32 to each tile, the mean of its mirrored answers where mirrored.

    `mirrors` are the axes along which tiles are mirrored too, counted from the patch's first. `batch` tiles are asked
    together, `at_once` such batches exist at a time.
    """
    ask = _once_alike(infer)
    ways = [way for count in range(len(mirrors) + 1) for way in combinations(mirrors, count)]
    inputs = (np.ascontiguousarray(np.flip(tile, _axes(way))) for tile in tiles for way in ways)
    singles = (one for many in answers(ask, _batches(inputs, batch), at_once) for one in many)
    for first in singles:
        if len(ways) == 1:
            yield first
            continue
        mean = np.array(first)
        for way in ways[1:]:
            mean += np.flip(next(singles), _axes(way))
        mean /= len(ways)
        yield mean


def at_once(answer_bytes: int) -> int:
    """How many answers of this many bytes may exist at a time."""
    return max(1, min(IN_FLIGHT, _HELD // answer_bytes))


def _axes(way: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in way)  # a tile's first axis is its channels


def _batches(inputs: Iterator[Array], batch: int) -> Iterator[Array]:
    group: list[Array] = []
    for one in inputs:
        group.append(one)
        if len(group) == batch:
            yield np.stack(group)
            group = []
    if group:
        yield np.stack(group)


def _once_alike(infer: Infer) -> Infer:
    """The network, asked once for tiles in which every channel has one value: padding, and air after clipping."""
    known: dict[bytes, Array] = {}
    lock = Lock()

    def ask(batch: Array) -> Array:
        corner = batch[(slice(None), slice(None), *(slice(1) for _ in batch.shape[2:]))]
        if not (batch == corner).all():
            return infer(batch)
        key = corner.tobytes()
        if key in known:
            return known[key]
        answer = infer(batch)
        with lock:
            if sum(one.nbytes for one in known.values()) + answer.nbytes <= _KEPT:
                known[key] = answer
        return answer

    return ask
