"""What a request may be: every tensor's type, rank and sizes, looked at before any work is done on it."""

from __future__ import annotations

from collections.abc import Mapping

from medseg.errors import InputError
from medseg.task import Array, Pipeline, Tensor, Tensors


def input_wires(pipeline: Pipeline) -> Mapping[str, Tensor]:
    """The tensors that clients send, by name."""
    return {name: pipeline.tensor(name) for name in pipeline.inputs}


def check_bounds(tensors: Tensors, wires: Mapping[str, Tensor]) -> None:
    """Raise InputError for a client's tensor that is not what its wire says; others are not looked at."""
    for name, array in tensors.items():
        if name in wires and not _fits(array, wires[name]):
            shape = ", ".join(f"0 to {wires[name].limit}" if axis < 0 else str(axis) for axis in wires[name].shape)
            raise InputError(f"tensor {name!r} has shape {array.shape}; expected ({shape})")


def _fits(array: Array, wire: Tensor) -> bool:
    if array.ndim != len(wire.shape):
        return False
    pairs = zip(array.shape, wire.shape, strict=True)
    return all(size <= wire.limit if axis < 0 else size == axis for size, axis in pairs)
