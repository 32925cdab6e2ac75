"""How a file is judged in the chain of its task's runs: by the list that a reader sees, and by the task's score."""

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
    """The judges of one chain: by lists if the task's answer is a list, by scores if there is data."""

    lists: Lists | None = None
    scores: Scores | None = None

    def check(self, network: str) -> None:
        """Raise ExportError if the network's files cannot be judged by a score."""
        because = self.scores.because if self.scores else "its task is not known"
        if because:
            raise ExportError(f"files of {network} cannot be judged by their score: {because}: use --budget agreement")

    def facts(self, network: str, precision: str, file: Path, most_lost: int, least: float | None) -> dict[str, Any]:
        """What the manifest says about a file of the network. Raises ExportError if the file misses a bound."""
        if not self.lists and not self.scores:
            return {}
        infer, found = as_judged(file, precision), dict[str, Any]()
        if self.lists:
            found["list"] = self.lists.judged(network, precision, infer, most_lost) | {"most_lost": most_lost}
        if self.scores:
            found["score"] = self.scores.judged(network, precision, infer, least)
        return found


def judges_of(runs: Sequence[Run], beside: Sequence[Run], data: Path | None, patients: int) -> dict[Path, Judges]:
    """Each run's judges by its path. Its chain is the run itself and the first run of each other network of its task.

    `patients` is the number of patients of the data folder on which files are scored; 0: no score.
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
