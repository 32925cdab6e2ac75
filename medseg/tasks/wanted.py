"""Outputs on request: the last step of a pipeline computes what its `wanted` tensor names, or everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from medseg.errors import InputError
from medseg.task import Array, Tensor, Tensors

WANTED = Tensor("wanted", "bytes", (-1,), optional=True, limit=64)


def wanted(offers: Mapping[str, Callable[[], Array]], tensors: Tensors, others: Sequence[str] = ()) -> Tensors:
    """The offered outputs that `tensors["wanted"]` names, each computed only then; all of them where it is absent.

    `others` are those that another step offers. Raises InputError for a name that nobody offers.
    """
    if "wanted" not in tensors:
        return {name: make() for name, make in offers.items()}
    known = dict.fromkeys((*others, *offers))
    names = [item.decode(errors="replace") for item in tensors["wanted"].ravel()]
    for name in names:
        if name not in known:
            raise InputError(f"output {name!r} is unknown; expected one of {', '.join(known)}")
    return {name: offers[name]() for name in names if name in offers}
