"""Score changes: where the score went, one change at a time: another engine, another precision, a server.

What each file of a network loses on single inputs is the export's own waterfall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from medseg.bench.record import MeanRecord, ScoreChange, TargetRecord
from medseg.engines import ENGINES
from medseg.metrics.means import differences

WAYS = ("precision", "engine", "where", "early_exit", "shared_memory", "decoder")  # the weightiest first
_ORDER = ("fp32", "fp16", "bf16", "int8", *ENGINES, "local", "served", "dali", "reference")


def score_changes(targets: Sequence[TargetRecord], metric: str) -> list[ScoreChange]:
    """Each target's mean score and its paired change from the target that differs least; the first has none."""
    found: list[ScoreChange] = []
    known = [one for one in targets if metric in one["accuracy"] and "engine" in one["facts"]]
    ordered = sorted(known, key=lambda one: [_rank(one["facts"].get(name)) for name in WAYS])
    for number, target in enumerate(ordered):
        step: ScoreChange = {"target": target["name"], "metric": metric, "score": target["accuracy"][metric]["mean"]}
        if number:
            before = min(reversed(ordered[:number]), key=lambda one: len(_changed(one, target)))
            change = differences(target["scores"], before["scores"]).get(metric)
            changed = _changed(before, target)
            step["from"], step["changed"] = before["name"], changed
            step["change"] = cast(MeanRecord, asdict(change)) if change else None
        found.append(step)
    return found


def _rank(value: Any) -> float:
    return float(_ORDER.index(value) if value in _ORDER else value or 0)


def _changed(before: TargetRecord, after: TargetRecord) -> list[str]:
    """What differs between two targets, in words."""
    pairs = {name: (before["facts"].get(name), after["facts"].get(name)) for name in (*WAYS, "machine")}
    return [_words(name, then, now) for name, (then, now) in pairs.items() if then != now]


def _words(name: str, then: Any, now: Any) -> str:
    if name in ("early_exit", "shared_memory"):
        return ("with " if now not in (None, False) else "without ") + name.replace("_", " ")
    return f"{then} to {now}"
