"""What each voting network adds and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medseg.bench.record import LedgerRecord, TargetRecord
from medseg.metrics.voters import ALONE, WITHOUT


@dataclass(frozen=True)
class VoterRow:
    """One voter of one target."""

    name: str
    alone: float | None  # its own Dice
    adds: float | None  # what the vote's Dice loses without it
    seconds: float | None
    asked: int
    requests: int


def voter_rows(target: TargetRecord, steps: Mapping[str, str]) -> list[VoterRow]:
    """Each voter's name, own Dice, what the vote loses without it, its seconds, and how often it was asked.

    `steps` are the steps that are a network, by its name. With early exit some votes are missing, so Dice is None.
    Empty where no networks vote.
    """
    accuracy, book = target["accuracy"], target["ledger"]
    exits = target["facts"].get("early_exit") is not None
    names = [name.removeprefix(ALONE) for name in accuracy if name.startswith(ALONE)]
    good = [timing for timing in target["serial"]["timings"] if timing["error"] is None]
    return [
        VoterRow(
            name=name,
            alone=None if exits else accuracy[f"{ALONE}{name}"]["mean"],
            adds=None if exits else accuracy["dice"]["mean"] - accuracy[f"{WITHOUT}{name}"]["mean"],
            seconds=_seconds(book, steps.get(name, "")) if book else None,
            asked=sum(not timing["items"] or any(name in stage for stage in timing["items"]) for timing in good),
            requests=len(good),
        )
        for name in names
    ]


def _seconds(book: LedgerRecord, step: str) -> float:
    """What a ledger has for a step and for the networks inside it."""
    return sum(row["seconds"] for row in book["rows"] if row["stage"] == step or row["stage"].startswith(f"{step}: "))
