"""Tensor: a named wire of a pipeline, with its bounds: what passes it is looked at before anything is done with it.

The same bounds hold in this process and on a server, where a client may ask each step's model by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from medseg.errors import InputError

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Tensor:
    """A named wire of a pipeline; -1 marks a free axis. Its bounds are held before anything is done with a tensor."""

    name: str
    dtype: str  # numpy's name, or "bytes" for encoded pictures and text
    shape: tuple[int, ...]
    optional: bool = False
    limit: int | tuple[int, ...] = 4096  # the largest size of every free axis, or of each axis
    least: int = 0  # the smallest size of every free axis
    values: tuple[float, float] | None = None  # the least and the largest value, of what says where or how large
    problem: Callable[[Array], str] | None = None  # of what no interval describes: what is wrong with it, "" where fine

    @property
    def limits(self) -> tuple[int, ...]:
        """The largest size of each axis."""
        return self.limit if isinstance(self.limit, tuple) else (self.limit,) * len(self.shape)


def check_bounds(tensors: Mapping[str, Array], wires: Iterable[Tensor]) -> None:
    """Raise InputError where a tensor is not what its wire says, or a required one is missing."""
    for wire in wires:
        if wire.name in tensors:
            _check(tensors[wire.name], wire)
        elif not wire.optional:
            raise InputError(f"tensor {wire.name!r} is required; expected it in every request: send it too")


def _check(array: Array, wire: Tensor) -> None:
    kind = str(array.dtype).removeprefix("torch.")
    if kind != ("object" if wire.dtype == "bytes" else wire.dtype):
        raise InputError(f"tensor {wire.name!r} is {kind}; expected {wire.dtype}")
    if not _fits(array, wire):
        pairs = zip(wire.shape, wire.limits, strict=True)
        shape = ", ".join(f"{wire.least} to {limit}" if axis < 0 else str(axis) for axis, limit in pairs)
        raise InputError(f"tensor {wire.name!r} has shape {tuple(array.shape)}; expected ({shape})")
    if wire.values and math.prod(array.shape):
        least, most = array.min().item(), array.max().item()
        if not (wire.values[0] <= least and most <= wire.values[1]):  # nor is nan
            found = f"is {least}" if math.prod(array.shape) == 1 else f"holds values from {least} to {most}"
            raise InputError(f"tensor {wire.name!r} {found}; expected {wire.values[0]} to {wire.values[1]}")
    if wire.problem and (problem := wire.problem(array)):
        raise InputError(f"tensor {wire.name!r} {problem}")


def _fits(array: Array, wire: Tensor) -> bool:
    if array.ndim != len(wire.shape):
        return False
    triples = zip(array.shape, wire.shape, wire.limits, strict=True)
    return all(wire.least <= size <= limit if axis < 0 else size == axis for size, axis, limit in triples)
