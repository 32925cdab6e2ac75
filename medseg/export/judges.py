"""Who judges a file in the chain of its task's runs: the list that a reader is shown, and the task's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import ExportError
from medseg.export.lists import Lists
from medseg.export.scores import Scores
from medseg.export.whole import Chain, as_judged
from medseg.run import Run
from medseg.tasks import task_named
from medseg.tasks.plugins import owner


@dataclass(frozen=True)
class Judges:
    """The judges of one chain: of lists where the task's answer is one, of scores where there is data."""

    lists: Lists | None = None
    scores: Scores | None = None

    def check(self, network: str) -> None:
        """Raise ExportError where no score can decide on the network's files."""
        because = self.scores.because if self.scores else "its task is not known"
        if because:
            raise ExportError(f"files of {network} cannot be judged by their score: {because}: use --budget agreement")

    def facts(self, network: str, precision: str, file: Path, most_lost: int, least: float | None) -> dict[str, Any]:
        """What the manifest says of a file of the network. Raises ExportError where it is beyond a bound."""
        if not self.lists and not self.scores:
            return {}
        infer, found = as_judged(file, precision), dict[str, Any]()
        if self.lists:
            found["list"] = self.lists.judged(network, precision, infer, most_lost) | {"most_lost": most_lost}
        if self.scores:
            found["score"] = self.scores.judged(network, precision, infer, least)
        return found


def judges_of(runs: Sequence[Run], beside: Sequence[Run], data: Path | None, patients: int) -> dict[Path, Judges]:
    """Each run's judges by its path; its chain is made of the first run of each of its task's other networks.

    `patients` are so many of the data folder as its score is taken of; 0: of none.
    """
    made: dict[frozenset[Path], Judges] = {}
    found = {}
    for run in runs:
        task = owner(run.network)
        others = {other.network: other for other in reversed([*runs, *beside]) if owner(other.network) == task}
        members = (others | {run.network: run}).values()
        key = frozenset(member.path for member in members)
        if key not in made:
            made[key] = _judges(task, Chain(list(members)), data, patients)
        found[run.path] = made[key]
    return found


def _judges(name: str, chain: Chain, data: Path | None, patients: int) -> Judges:
    if not name:
        return Judges()
    task = task_named(name)
    lists = Lists(task, task.listing, chain, data) if task.listing else None
    return Judges(lists, Scores(name, chain, data, patients) if data and patients else None)
