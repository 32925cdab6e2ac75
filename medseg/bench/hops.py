"""Hops: where the score went, one change at a time: another engine, another precision, a server.

What each file of a network loses on single inputs is the export's own waterfall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.engines import ENGINES
from medseg.metrics.means import differences
from medseg.run import Run
from medseg.task import Task

CHANGES = ("precision", "engine", "where", "early_exit", "shared_memory", "decoder")  # the weightiest first
SAMPLES = {1: 16, 3: 4}  # inputs of a network by the length of its output's shape: crops are many, pictures few
_ORDER = ("fp32", "fp16", "bf16", "int8", *ENGINES, "local", "served", "dali", "reference")

Record = dict[str, Any]


def hops(targets: Sequence[Record], metric: str) -> list[Record]:
    """Each target's mean score and its paired change from the target that differs least; the first has none."""
    found: list[Record] = []
    known = [one for one in targets if metric in one["accuracy"] and "engine" in one["facts"]]
    ordered = sorted(known, key=lambda one: [_rank(one["facts"].get(name)) for name in CHANGES])
    for number, target in enumerate(ordered):
        hop = {"target": target["name"], "metric": metric, "score": target["accuracy"][metric]["mean"]}
        if number:
            before = min(reversed(ordered[:number]), key=lambda one: len(_changed(one, target)))
            change = differences(target["scores"], before["scores"]).get(metric)
            changed = _changed(before, target)
            hop |= {"from": before["name"], "changed": changed, "change": asdict(change) if change else None}
        found.append(hop)
    return found


def _rank(value: Any) -> float:
    return float(_ORDER.index(value) if value in _ORDER else value or 0)


def _changed(before: Record, after: Record) -> list[str]:
    """What differs between two targets, in words."""
    pairs = {name: (before["facts"].get(name), after["facts"].get(name)) for name in CHANGES}
    return [_words(name, then, now) for name, (then, now) in pairs.items() if then != now]


def _words(name: str, then: Any, now: Any) -> str:
    if name in ("early_exit", "shared_memory"):
        return ("with " if now not in (None, False) else "without ") + name.replace("_", " ")
    return f"{then} to {now}"


def waterfalls(task: Task, runs: Sequence[Run], data: Path) -> Iterator[Record]:
    """Each run's waterfall, the export's: every file on the same real inputs beside torch, in Dice and milliseconds."""
    from medseg.export.samples import drawn
    from medseg.export.waterfall import waterfall

    for run in runs:
        network = task.network(run.network)
        count = SAMPLES[len(network.output_shape)]
        samples = drawn(network, data if data.is_dir() else None, count)
        stages = [asdict(stage) for stage in waterfall(run, network, samples)]
        yield {"network": network.name, "samples": samples.origin, "stages": stages}
