"""A channel's values as its network learnt them: each scheme by its name, in float32 and in place, as in nnU-Net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.schema import Check, a, closed, number, one_of
from medseg.task import Array

_SMALLEST = 1e-8  # of what is divided by
_NUMBER = a("a finite number", number)
_YES_OR_NO = a("true or false", lambda value: isinstance(value, bool))

Scheme = Mapping[str, Any]


def _zscore(values: Array, mask: Array | None, _: Scheme) -> None:
    if mask is not None:
        inside = values[mask]
        values[mask] = (inside - inside.mean()) / max(inside.std(), _SMALLEST)
        return
    mean, spread = values.mean(), values.std()
    values -= mean
    values /= max(spread, _SMALLEST)


def _window(values: Array, _: Array | None, scheme: Scheme) -> None:
    np.clip(values, scheme["low"], scheme["high"], out=values)
    values -= scheme["mean"]
    values /= max(scheme["std"], _SMALLEST)


def _share(values: Array, _: Array | None, __: Scheme) -> None:
    values -= values.min()
    values /= max(values.max(), _SMALLEST)


def _bytes(values: Array, _: Array | None, __: Scheme) -> None:
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise InputError(f"a channel has values from {low:g} to {high:g}; expected a colour's, 0 to 255: convert it")
    values /= 255.0


def _range(values: Array, _: Array | None, scheme: Scheme) -> None:
    """MONAI's ScaleIntensityRange: one range becomes another."""
    values -= scheme["low"]
    values /= scheme["high"] - scheme["low"]
    values *= scheme["to_high"] - scheme["to_low"]
    values += scheme["to_low"]
    if scheme["clip"]:
        np.clip(values, scheme["to_low"], scheme["to_high"], out=values)


def _standard(values: Array, _: Array | None, scheme: Scheme) -> None:
    """MONAI's NormalizeIntensity: to given numbers, or to those of the channel (of what is not 0 in it)."""
    chosen = values != 0 if scheme["nonzero"] else np.ones(values.shape, bool)
    inside = values[chosen]
    if not inside.size:
        return
    mean = scheme.get("mean", inside.mean(dtype=np.float64))
    spread = scheme.get("std", inside.std(dtype=np.float64))
    values[chosen] = (inside - np.float32(mean)) / np.float32(spread if spread != 0 else 1.0)


def _nothing(_: Array, __: Array | None, ___: Scheme) -> None:
    pass


# scheme -> what does it, and which entries it has
_SCHEMES: dict[str, tuple[Callable[[Array, Array | None, Scheme], None], dict[str, Check], dict[str, Check]]] = {
    "zscore": (_zscore, {"masked": _YES_OR_NO}, {}),
    "window": (_window, dict.fromkeys(("low", "high", "mean", "std"), _NUMBER), {}),
    "share": (_share, {}, {}),
    "bytes": (_bytes, {}, {}),
    "none": (_nothing, {}, {}),
    "range": (_range, {**dict.fromkeys(("low", "high", "to_low", "to_high"), _NUMBER), "clip": _YES_OR_NO}, {}),
    "standard": (_standard, {"nonzero": _YES_OR_NO}, {"mean": _NUMBER, "std": _NUMBER}),
}


def check_scheme(value: Any, where: str) -> str | None:
    """What is wrong with a normalisation in a description, None where nothing is."""
    name = value.get("scheme") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in _SCHEMES:
        return closed({"scheme": one_of(*_SCHEMES)})(value, where) or f"{where}.scheme is none"
    _, required, optional = _SCHEMES[name]
    return closed({"scheme": one_of(name), **required}, optional)(value, where)


def normalise(values: Array, scheme: Scheme, mask: Callable[[], Array]) -> None:
    """Normalise a channel (z, y, x) float32 in place; `mask` makes where it is looked at, of schemes that are masked.

    Raises InputError where the values cannot be the channel's.
    """
    do = _SCHEMES[scheme["scheme"]][0]
    do(values, mask() if scheme.get("masked") else None, scheme)
