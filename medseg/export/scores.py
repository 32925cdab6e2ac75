"""Scores: the whole chain's score with an exported file in it, compared with fp32, on patients with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.samples import evenly
from medseg.errors import ExportError, MedsegError
from medseg.export.whole import Chain, Versions, others
from medseg.metrics.means import differences
from medseg.task import Infer, Task
from medseg.tasks import task_as
from medseg.tasks.scorer import Scored, Scorer

SHARES = {"99.9 %": 0.999, "99 %": 0.99}  # of fp32's score, in the words of MLPerf
LEAST = 0.99  # the least share of fp32's score for a file that is judged by its score
FAILS = "fails"


@dataclass(frozen=True)
class Patients:
    """The patients of a data folder on which files are scored; if possible patients that no run was trained on."""

    data: Path
    names: tuple[str, ...]
    new: bool  # whether no run was trained on them

    def __str__(self) -> str:
        whom = "that no run has learnt from" if self.new else "that the runs have learnt from"
        count = f"{len(self.names)} patient{'s' if len(self.names) > 1 else ''}"
        return f"{count} of {self.data} {whom}"


def verdict(share: float) -> str:
    """A share of fp32's score in MLPerf's words: "99.9 %", "99 %" or "fails"."""
    return next((words for words, least in SHARES.items() if share >= least), FAILS)


class Scores:
    """The task's score on a data folder, with one exported file after another in the chain of its runs."""

    def __init__(self, task: str, chain: Chain, data: Path, most: int) -> None:
        self._name, self._chain, self._data, self._most = task, chain, data, most

    def judged(self, network: str, precision: str, infer: Infer, least: float | None) -> dict[str, Any]:
        """The score with this file of the network, and fp32's. Raises ExportError if its share is less than `least`.

        If the chain cannot be scored, the facts say why; with `least`, that is an ExportError too.
        """
        if because := self.because:
            if least is not None:
                raise ExportError(f"{precision}.onnx of {network} cannot be judged by its score: {because}")
            return {"judged": False, "because": because}
        with self._chain.trying(network, precision, infer) as versions:
            facts = self._compared(self._scored(versions)) | {"beside": others(versions, network)}
            if least is not None and facts["share"] < least:
                raise ExportError(_refusal(f"{precision}.onnx of {network}", facts, least))
        return facts

    def _compared(self, found: Scored) -> dict[str, Any]:
        main, full = self._task.known_scoring("judge files").main, self._full
        change = asdict(differences(found.rows, full.rows)[main]) if main in next(iter(full.rows.values())) else {}
        share = found.means[main].mean / full.means[main].mean
        scores = {"fp32": round(full.means[main].mean, 6), "file": round(found.means[main].mean, 6)}
        facts = {"judged": True, "score": main, **scores, "share": round(share, 6), "verdict": verdict(share)}
        return facts | {"change": change, "on": str(self._patients)}

    @cached_property
    def _task(self) -> Task:
        return task_as(self._name, list(self._chain.runs.values()))

    @cached_property
    def _patients(self) -> Patients:
        patients = self._task.known_data("judge files").patients(self._data)
        splits = [run.manifest["source"].get("split", {}) for run in self._chain.runs.values()]
        learnt = {name for split in splits for name in split.get("train", ())}
        held = [name for name in patients if name not in learnt]
        return Patients(self._data, tuple(map(str, evenly(np.array(held or patients), self._most))), bool(held))

    @cached_property
    def _full(self) -> Scored:
        return self._scored(self._chain.full)

    @cached_property
    def because(self) -> str:
        """Why the chain has no score; "" if it has one."""
        try:
            scoring = self._task.known_scoring("judge files")
            if not self._full.rows:
                return f"{self._patients} have no truth"
        except MedsegError as error:  # runs that are missing, a task without scores, data that cannot be read
            return str(error)
        mean = self._full.means.get(scoring.main)
        return "" if mean and mean.mean > 0 else f"fp32 has no {scoring.main} over 0 on {self._patients}"

    def _scored(self, versions: Versions) -> Scored:
        """The score of the chain with these versions of its networks."""
        layout, networks = self._task.known_data("judge files"), self._chain.networks(versions)
        cases = {patient: layout.cases(self._data, patient) for patient in self._patients.names}
        scorer = Scorer(self._task, self._data, [case for several in cases.values() for case in several], keep=())
        for patient, several in cases.items():
            known = {case.id for case in scorer.read(patient)}
            for case in several:
                if case.id in known:
                    scorer.add(case.id, self._task.pipeline(case.ask(), networks))
        return scorer.scored()


def _refusal(what: str, facts: Mapping[str, Any], least: float) -> str:
    return (
        f"{what} is not recorded: its {facts['score']} is {facts['file']:.4f}, {facts['share']:.2%} of fp32's "
        f"{facts['fp32']:.4f}, at least {least:.0%} is due, on {facts['on']}: use another precision"
    )
