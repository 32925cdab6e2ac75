"""Outputs on request: the last step of a pipeline computes what its `wanted` tensor names, or everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from medseg.errors import InputError
from medseg.task import Array, Tensor, Tensors

WANTED = Tensor("wanted", "bytes", (-1,), optional=True, limit=64)


def wanted(offers: Mapping[str, Callable[[], Array]], tensors: Tensors) -> Tensors:
    """The offered outputs that `tensors["wanted"]` names, each computed only then; all of them where it is absent.

    Raises InputError for a name that is not on offer.
    """
    if "wanted" not in tensors:
        return {name: make() for name, make in offers.items()}
    names = [item.decode() if isinstance(item, bytes) else str(item) for item in tensors["wanted"].ravel()]
    for name in names:
        if name not in offers:
            raise InputError(f"output {name!r} is unknown; expected one of {', '.join(offers)}")
    return {name: offers[name]() for name in names}
