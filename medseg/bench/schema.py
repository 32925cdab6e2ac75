"""What a bench.json must hold to be compared with: all that a comparison reads, and its bounds."""

from __future__ import annotations

from typing import Any

from medseg.bench.record import SCHEMA
from medseg.schema import Check, a, count, either, first, mapping, record, sequence, text

_MOST = 1e9  # of seconds, rates and scores; a score must not be further below 0 than this either


def _within(low: float, high: float = _MOST) -> Check:
    return a(
        f"a number from {low:g} to {high:g}",
        lambda value: either(value, int, float) and low <= value <= high,
        quoted=True,
    )


def _or_nothing(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


_SECONDS, _SCORE = _within(0), _within(-_MOST)
_RATE = a(
    f"0, or a number from 1e-06 to {_MOST:g}",
    lambda value: either(value, int, float) and (value == 0 or 1e-6 <= value <= _MOST),
)
_TIMES = {"case": text(), "intended_s": _SECONDS, "done_s": _SECONDS, "error": _or_nothing(text(1 << 16))}


def _timing(value: Any, where: str) -> str | None:
    return record(_TIMES)(value, where) or _in_order(value["intended_s"], value["done_s"], where)


def _in_order(due_s: float, done_s: float, where: str) -> str | None:
    return (
        None
        if due_s <= done_s
        else f"{where} was done at {done_s:g} s and due at {due_s:g} s; expected the opposite order"
    )


def _columns(value: Any, where: str) -> str | None:
    """The times of a level: a list for each column, all of one length."""
    wrong = record({name: sequence(check) for name, check in _TIMES.items()})(value, where)
    if wrong:
        return wrong
    lengths = {len(value[name]) for name in _TIMES}
    if len(lengths) > 1:
        return f"{where} has columns of {min(lengths)} and of {max(lengths)} entries; expected columns of the "
        "same length"
    pairs = zip(value["intended_s"], value["done_s"], strict=True)
    return first(_in_order(due_s, done_s, f"{where}[{index}]") for index, (due_s, done_s) in enumerate(pairs))


_LEVEL = record(
    {
        "mode": text(),
        "load": _within(0),
        "per_s": _RATE,
        "windows": sequence(record({"per_s": _RATE})),
        "timings": _columns,
    }
)
_TARGET = record(
    {
        "name": text(),
        "serial": record({"timings": sequence(_timing)}),
        "levels": sequence(_LEVEL),
        "scores": mapping(mapping(_SCORE)),
        "problems": sequence(text(1 << 16)),
        "yardstick_s": _or_nothing(_SECONDS),
    }
)
BENCH = record(
    {"schema": count(SCHEMA, SCHEMA), "task": text(), "main": text(), "started": text(), "targets": sequence(_TARGET)}
)
