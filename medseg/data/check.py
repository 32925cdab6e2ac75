"""What a data folder holds and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.task import Case


@dataclass(frozen=True)
class Inspected:
    """One patient, or one table: its readable cases, and every problem as a sentence that names a path."""

    patient: str | None
    cases: Sequence[Case] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """A data folder in numbers, and its problems."""

    patients: int
    cases: int
    shapes: dict[str, int]  # rows x columns and the like, and how many cases have it
    spacings_mm: dict[str, int]
    without_truth: int
    empty_masks: int
    foreground_share: float | None  # mean over the cases with truth
    problems: list[str]

    @property
    def record(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)


def report(inspected: Iterable[Inspected]) -> Report:
    """All that was inspected, added up; cases are looked at one patient at a time and then let go."""
    patients, shares = 0, list[float]()
    problems: list[str] = []
    shapes, spacings, counts = Counter[str](), Counter[str](), Counter[str]()
    for one in inspected:
        patients += one.patient is not None
        problems += one.problems
        for case in one.cases:
            counts["cases"] += 1
            shapes["x".join(map(str, case.image.shape))] += 1
            if case.spacing_mm:
                spacings["x".join(f"{step:g}" for step in case.spacing_mm)] += 1
            if case.mask is None:
                counts["without"] += 1
            else:
                shares.append(float(np.count_nonzero(case.mask) / case.mask.size))
    empty = sum(share == 0 for share in shares)
    mean = float(np.mean(shares)) if shares else None
    order = dict(shapes.most_common()), dict(spacings.most_common())
    return Report(patients, counts["cases"], *order, counts["without"], empty, mean, problems)


def problems_of(calls: Iterable[Callable[[], object]]) -> list[str]:
    """The sentence of every call that raises InputError."""
    found = []
    for call in calls:
        try:
            call()
        except InputError as error:
            found.append(str(error))
    return found


def read_cases(patient: str, read: Callable[[], Sequence[Case]], problems: Sequence[str]) -> Inspected:
    """The patient's cases with the problems that are known; unreadable ones are a problem more."""
    if problems:
        return Inspected(patient, (), problems)
    try:
        return Inspected(patient, read(), ())
    except InputError as error:
        return Inspected(patient, (), (str(error),))
