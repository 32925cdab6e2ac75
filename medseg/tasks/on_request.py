"""Outputs on request: the last step of a pipeline computes what its `wanted` tensor names, or everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from medseg.task import Array, Tensor, Tensors

_SHOWN = 60  # characters of an unknown name


def requested_tensor(outputs: Sequence[str]) -> Tensor:
    """The wire that names the outputs a request wants, of these. Another name is refused at the first step it meets."""
    problem = partial(_unknown, tuple(outputs))
    return Tensor("wanted", "bytes", (-1,), optional=True, limit=64, problem=problem)


def requested(offers: Mapping[str, Callable[[], Array]], tensors: Tensors) -> Tensors:
    """The offered outputs that `tensors["wanted"]` names, each computed only then; all of them where it is absent."""
    names = _names(tensors["wanted"]) if "wanted" in tensors else offers
    return {name: offers[name]() for name in dict.fromkeys(names) if name in offers}


def _unknown(outputs: Sequence[str], array: Array) -> str:
    """What is wrong with a tensor `wanted`, in words that follow its name; "" where every name is an output's."""
    names = _names(array)
    strange = [name for name in names if name not in outputs]
    if names and not strange:
        return ""
    return f"asks for {repr(strange[0][:_SHOWN]) if strange else 'nothing'}; expected outputs of {', '.join(outputs)}"


def _names(array: Array) -> list[str]:
    return [item.decode(errors="replace") for item in array.ravel()]
