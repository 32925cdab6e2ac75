"""What a request may be: every tensor's rank, sizes and, where they say a size, values: looked at before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medseg.errors import InputError
from medseg.task import Array, Pipeline, Tensor, Tensors


def wires_of(pipeline: Pipeline) -> Mapping[str, Tensor]:
    """Every wire by name: whoever reaches the server may ask each step's model, not the ensemble alone."""
    return {tensor.name: tensor for tensor in pipeline.tensors}


def check_bounds(tensors: Tensors, wires: Mapping[str, Tensor]) -> None:
    """Raise InputError for a tensor that is not what its wire says."""
    for name, array in tensors.items():
        wire = wires[name]
        if not _fits(array, wire):
            pairs = zip(wire.shape, wire.limits, strict=True)
            shape = ", ".join(f"0 to {limit}" if axis < 0 else str(axis) for axis, limit in pairs)
            raise InputError(f"tensor {name!r} has shape {tuple(array.shape)}; expected ({shape})")
        if wire.values and math.prod(array.shape):
            least, most = array.min().item(), array.max().item()
            if not (wire.values[0] <= least and most <= wire.values[1]):  # nor is nan
                expected = f"{wire.values[0]} to {wire.values[1]}"
                raise InputError(f"tensor {name!r} holds values from {least} to {most}; expected {expected}")


def _fits(array: Array, wire: Tensor) -> bool:
    if array.ndim != len(wire.shape):
        return False
    triples = zip(array.shape, wire.shape, wire.limits, strict=True)
    return all(0 <= size <= limit if axis < 0 else size == axis for size, axis, limit in triples)
