"""Served: what happens inside the server during a request, from Triton's own statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medseg.bench.ledger import Ledger, rows
from medseg.bench.target import SERVER, Statistics
from medseg.task import Step
from medseg.triton_models.names import network_model, step_model

QUEUE, COPIES, BETWEEN, TRANSFER = "queue", "tensor copies", "between steps", "transfer"

Spent = Mapping[str, Mapping[str, float]]  # model -> success, queue, compute_input, compute_infer, compute_output -> s


def spent(before: Statistics, after: Statistics, requests: int) -> dict[str, dict[str, float]]:
    """Seconds per request of every model between two readings of the statistics."""
    return {
        model: {kind: (_ns(stats, kind) - _ns(before.get(model, {}), kind)) / 1e9 / requests for kind in stats}
        for model, stats in after.items()
    }


def _ns(stats: Mapping[str, Mapping[str, int]], kind: str) -> int:
    return int(stats.get(kind, {}).get("ns", 0))  # JSON from gRPC has text for numbers and leaves zeros away


def server_stages(
    seconds: Spent, task: str, steps: Sequence[Step], inside: Mapping[str, Iterable[str]]
) -> dict[str, float]:
    """Seconds per request of each stage in the server, summing to the ensemble's whole time.

    `inside` names the networks that a step calls; their time is taken out of the step's. Calls to one network may
    overlap on its instances, so what exceeds the step's own time is not counted. Steps that ran at the same time are
    scaled down to the time they took together.
    """
    stages = {QUEUE: 0.0, COPIES: 0.0}
    for step in steps:
        parts = seconds.get(network_model(step.run) if isinstance(step.run, str) else step_model(task, step.name), {})
        stages[QUEUE] += parts.get("queue", 0.0)
        stages[COPIES] += parts.get("compute_input", 0.0) + parts.get("compute_output", 0.0)
        left = parts.get("compute_infer", 0.0)
        for network in inside.get(step.name, ()):
            share = min(left, seconds.get(network_model(network), {}).get("compute_infer", 0.0))
            stages[f"{step.name}: {network}"] = share
            left -= share
        stages[step.name] = left
    whole, known = seconds[task]["success"], sum(stages.values())
    if known > whole:
        return {stage: value * whole / known for stage, value in stages.items()}
    return stages | {BETWEEN: whole - known}


def opened_up(book: Ledger, stages: Mapping[str, float], server_s: float) -> Ledger:
    """The ledger with its `server` row replaced by the server's stages and the transfer.

    Statistics are means over all requests, of which `server_s` was the mean time that the client waited.
    """
    parts = dict(stages) | {TRANSFER: max(0.0, server_s - sum(stages.values()))}
    whole = sum(parts.values())
    seconds: dict[str, float] = {}
    for row in book.rows:
        if row.stage == SERVER:
            seconds |= {stage: row.seconds * value / whole for stage, value in parts.items()}
        else:
            seconds[row.stage] = row.seconds
    items = {row.stage: row.items for row in book.rows if row.items}
    return replace(book, rows=rows(seconds, items))
