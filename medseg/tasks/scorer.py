"""Scores of answers as they come, for `evaluate` and `bench`: one function computes a key, so it has one meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from medseg.data.picture import TRUTH, compared
from medseg.errors import InputError
from medseg.metrics.definitions import HIGHER, LOWER, NEITHER, SHARE, Metric, metric_of
from medseg.metrics.means import means, worst
from medseg.scoring import Mean, Overall, Rows, Scoring
from medseg.task import Array, Case, Task, Tensors, Unread

WORST = 3  # rows that can be drawn


Value = TypeVar("Value")


@dataclass(frozen=True)
class Scored:
    """The scores of answers: a row for each thing that is scored, each score over all rows, and counts."""

    rows: Rows = field(default_factory=dict)
    means: Mapping[str, Mean] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def scored(scoring: Scoring, rows: Rows, overall: Overall) -> Scored:
    """The rows with their means; a score that is computed over all cases together replaces the mean."""
    ordered = {name: _ordered(row, scoring.metrics) for name, row in rows.items()}
    return Scored(ordered, _ordered(means(rows) | dict(overall.means), scoring.metrics), overall.counts)


def _ordered(scores: Mapping[str, Value], metrics: Sequence[Metric]) -> dict[str, Value]:
    """The scores in the order of the task's metrics."""
    places = {key: metric_of(metrics, key) for key in scores}
    order = {key: metrics.index(metric) if metric else len(metrics) for key, metric in places.items()}
    return {key: scores[key] for key in sorted(scores, key=lambda key: order[key])}


def nothing(task: Task, case: Case) -> Tensors:
    """The answer to a case in which nothing is found: masks of its size without a voxel, empty lists."""
    names = task.files.measured or task.pipeline.outputs
    found = {name: task.pipeline.tensor(name) for name in names}
    whole = {name: _sized(wire.shape, case) for name, wire in found.items()}
    return {name: np.zeros(whole[name], wire.dtype) for name, wire in found.items() if wire.dtype != "bytes"}


def _sized(shape: Sequence[int], case: Case) -> tuple[int, ...]:
    """A wire's shape; its free axes are the truth's last axes if the truth has as many, otherwise 0."""
    free = sum(size == -1 for size in shape)
    masks = case.mask is not None and free >= 2 and tuple(shape[-free:]) == (-1,) * free
    if not masks or case.mask is None:
        return tuple(max(size, 0) for size in shape)
    return *shape[: len(shape) - free], *case.mask.shape[case.mask.ndim - free :]


def worst_scores(row: Mapping[str, float], metrics: Sequence[Metric]) -> dict[str, float]:
    """A row's scores with their worst values: 0 of a share, 1 if lower is better; a score without one is left out.

    Counts that only describe a case stay.
    """
    known = {key: metric for key in row if (metric := metric_of(metrics, key))}
    worst_of = {HIGHER: 0.0, LOWER: 1.0}
    stay = {key: row[key] for key, metric in known.items() if metric.better == NEITHER}
    shares = {key: metric for key, metric in known.items() if metric.unit == SHARE and metric.better in worst_of}
    return {key: worst_of[metric.better] for key, metric in shares.items()} | stay


class Scorer:
    """Counts answers to the cases of a data folder whose truth is known, whatever order they come in.

    A row is scored as soon as all its cases are answered, so only one scan's answers are held. Those of the worst rows
    are kept, to be drawn.
    """

    def __init__(
        self,
        task: Task,
        directory: Path,
        cases: Sequence[Unread],
        options: Mapping[str, float] | None = None,
        keep: Collection[str] | int = WORST,
    ) -> None:
        """`options` are those the cases are asked with instead of Data.cases'; `keep`: rows to draw, or how many."""
        self._task = task
        self._scoring, self._data = task.known_scoring("score answers"), task.known_data("score answers")
        self._directory, self._options, self._keep = directory, dict(options or {}), keep
        self._patients: dict[str, str] = {}  # row -> its patient
        self._cases: dict[str, list[str]] = {}  # row -> its cases
        for case in cases:
            if case.known:
                self._cases.setdefault(self._scoring.row_of(case.id), []).append(case.id)
                self._patients[self._scoring.row_of(case.id)] = case.patient
        self._waiting: dict[str, dict[str, Tensors]] = {}  # row -> case -> answer
        self._rows: Rows = {}
        self._kept: dict[str, Tensors] = {}  # case -> what Scoring.overall needs
        self._answers: dict[str, dict[str, Tensors]] = {}  # of rows that will be drawn
        self._failed: set[str] = set()  # rows with a case that has no answer
        self._latest: tuple[str, list[Case]] = ("", [])  # the patient that was read last

    def add(self, case: str, answer: Tensors) -> None:
        """Count an answer: the first to each case whose truth is known. Raises InputError where it cannot be scored."""
        row = self._scoring.row_of(case)
        if case in self._kept or case not in self._cases.get(row, ()):
            return
        self._kept[case] = {name: answer[name] for name in self._scoring.kept}
        self._waiting.setdefault(row, {})[case] = answer
        if len(self._waiting[row]) == len(self._cases[row]):
            self._score(row)

    def fail(self, case: str) -> None:
        """Count a case that was asked and has no answer: as if nothing was found, and its row with the worst scores."""
        row = self._scoring.row_of(case)
        if row in self._cases:
            self._failed.add(row)
            known = {one.id: one for one in self.read(self._patients[row])}
            if case in known:
                self.add(case, nothing(self._task, known[case]))

    def scored(self) -> Scored:
        """All scores; a row is scored on those of its cases that were answered."""
        for row in list(self._waiting):
            self._score(row)
        overall = self._scoring.overall
        whole = overall(self._directory, self._rows, self._kept, self._options) if overall and self._rows else Overall()
        return scored(self._scoring, self._rows, whole)

    @property
    def drawable(self) -> list[str]:
        """The rows whose answers are kept: those that were asked for, or else the worst ones, worst first."""
        if isinstance(self._keep, int):
            return worst(self._rows, self._scoring.main, self._keep)
        return [row for row in self._keep if row in self._rows]

    def read(self, patient: str) -> list[Case]:
        """A patient's cases that have a truth, with it."""
        if self._latest[0] != patient:
            found = self._data.read(self._directory, patient)
            self._latest = patient, [case for case in found if case.mask is not None]
        return self._latest[1]

    def masks(self, row: str) -> list[Array]:
        """The answered masks of a drawable row's cases."""
        cases = self._answered(row)
        return self._scoring.masks(cases, [self._answers[row][case.id] for case in cases])

    def picture(self, row: str, masks: Mapping[str, Sequence[Array]]) -> Array:
        """A row's truth and these masks of its cases by name, RGB (h, w, 3) uint8."""
        cases = self._answered(row)
        truth = [case.mask for case in cases if case.mask is not None]
        return compared(self._scoring.views(cases, {TRUTH: truth, **masks}))

    def together(self, row: str, scorers: Mapping[str, Scorer]) -> Array:
        """A drawable row's truth with what each of these scorers kept of it, by name, RGB (h, w, 3) uint8."""
        if not self._scoring.drawn:
            return self.picture(row, {name: one.masks(row) for name, one in scorers.items()})
        case = self._answered(row)[0]
        answers = {name: one._answers[row][case.id] for name, one in scorers.items()}
        return self._scoring.drawn(self._directory, case, answers)

    def _score(self, row: str) -> None:
        answers = self._answers[row] = self._waiting.pop(row)
        cases = self._answered(row)
        try:
            self._rows |= self._scoring.rows(self._directory, cases, [answers[case.id] for case in cases])
        except InputError as error:
            raise InputError(f"{self._directory}, {self._patients[row]}: {error}") from error
        if row in self._failed:
            self._rows[row] = worst_scores(self._rows[row], self._scoring.metrics)
        self._answers = {name: self._answers[name] for name in self.drawable}

    def _answered(self, row: str) -> list[Case]:
        return [case for case in self.read(self._patients[row]) if case.id in self._answers[row]]
