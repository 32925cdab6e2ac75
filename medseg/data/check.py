"""Report on a data folder: what it holds and what is wrong with it."""

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
    """One patient, or one table (patient is None): its readable cases, and each problem as a sentence with a path."""

    patient: str | None
    cases: Sequence[Case] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """A data folder in numbers, and its problems."""

    patients: int
    cases: int
    shapes: dict[str, int]  # a shape, such as "rows x columns", and how many cases have it
    spacings_mm: dict[str, int]  # a spacing, such as "0.7x0.7x1.25", and how many cases have it
    without_truth: int
    empty_masks: int
    foreground_share: float | None  # mean over the cases with truth
    problems: list[str]

    @property
    def record(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)


def report(inspected: Iterable[Inspected]) -> Report:
    """The sum of all that was inspected. Only one patient's cases are in memory at a time."""
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
    """Run every call, and return the message of each InputError."""
    found = []
    for call in calls:
        try:
            call()
        except InputError as error:
            found.append(str(error))
    return found


def read_cases(patient: str, read: Callable[[], Sequence[Case]], problems: Sequence[str]) -> Inspected:
    """The patient's cases, or the problems why there are none: the known ones, else what `read` raises."""
    if problems:
        return Inspected(patient, (), problems)
    try:
        return Inspected(patient, read(), ())
    except InputError as error:
        return Inspected(patient, (), (str(error),))
