"""Served: what happens inside the server during a request, from Triton's own statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from medseg.bench.measure.ledger import Ledger, rows
from medseg.bench.measure.target import INPUTS, SERVER, Statistics
from medseg.task import Step
from medseg.triton_models.names import network_model, step_model

QUEUE, COPIES, BETWEEN, CLIENT, TRANSFER = "queue", "tensor copies", "between steps", "client", "transfer"

# model -> seconds of success, queue, compute_input, compute_infer, compute_output; and inputs, a number
Spent = Mapping[str, Mapping[str, float]]


def spent(before: Statistics, after: Statistics, requests: int) -> dict[str, dict[str, float]]:
    """Seconds, and inputs, per request of every model between two readings of the statistics."""
    return {
        model: {kind: (_amount(stats, kind) - _amount(before.get(model, {}), kind)) / requests for kind in stats}
        for model, stats in after.items()
    }


def _amount(stats: Mapping[str, Any], kind: str) -> float:
    """A statistic's number: gRPC's JSON writes numbers as text and leaves out zeros."""
    if kind == INPUTS:
        return int(stats.get(kind, 0))
    return int(stats.get(kind, {}).get("ns", 0)) / 1e9


def fan_out(seconds: Spent, networks: Iterable[str]) -> dict[str, float]:
    """How many inputs each network was given within one request: the slices and candidates of one CT, for example."""
    given = {name: seconds.get(network_model(name), {}).get(INPUTS, 0.0) for name in networks}
    return {name: count for name, count in given.items() if count}


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


def stage_items(given: Mapping[str, float], steps: Sequence[Step], inside: Mapping[str, Iterable[str]]) -> dict:
    """What `fan_out` found, by the ledger's stages: of each step that is a network, or is known to call one."""
    items = {step.name: given[step.run] for step in steps if isinstance(step.run, str) and step.run in given}
    for step, networks in inside.items():
        items |= {f"{step}: {network}": given[network] for network in networks if network in given}
    return items


def opened_up(book: Ledger, stages: Mapping[str, float], server_s: float, client_s: float, items: Mapping) -> Ledger:
    """The ledger with its `server` row replaced by the server's stages, the client's share and the transfer.

    Statistics are means over all requests: `server_s` is the mean time that the client waited, `client_s` the time in
    which it worked itself. `items` are the inputs of each stage.
    """
    outside_s = max(0.0, server_s - sum(stages.values()))
    client_s = min(client_s, outside_s)
    parts = dict(stages) | {CLIENT: client_s, TRANSFER: outside_s - client_s}
    whole = sum(parts.values())
    seconds: dict[str, float] = {}
    for row in book.rows:
        if row.stage == SERVER:
            seconds |= {stage: row.seconds * value / whole for stage, value in parts.items()}
        else:
            seconds[row.stage] = row.seconds
    return replace(book, rows=rows(seconds, items))
