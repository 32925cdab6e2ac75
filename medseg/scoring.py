"""How good answers are, as records: Scoring, what it gives back, and Mean. Needs nothing but Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.tensor import Array, Tensors

if TYPE_CHECKING:
    from medseg.data.picture import View
    from medseg.metrics.definitions import Metric
    from medseg.task import Case, Request

Rows = dict[str, dict[str, float]]  # what is scored (a volume, a picture, a scan of slices) -> score -> value


@dataclass(frozen=True)
class Mean:
    """A score over all cases with its 95 % interval; a lone case has none."""

    mean: float
    low: float | None
    high: float | None
    cases: int


@dataclass(frozen=True)
class Overall:
    """What all cases have together: scores that are no means of the rows, and counts."""

    means: Mapping[str, Mean] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Submitted:
    """What a table of answers in the field's own format scores, and notes of what in it does not count."""

    rows: Rows
    overall: Overall
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scoring:
    """How good answers are, and what they look like: the same for `evaluate` and for `bench`.

    Without it `evaluate` is refused, and a benchmark shows latency alone.
    """

    main: str  # the score by which rows are ordered and targets compared, one of the metrics
    metrics: tuple[Metric, ...]  # every score that any of the functions below gives: a key means one thing
    rows: Callable[[Path, Sequence[Case], Sequence[Tensors]], Rows]  # a data folder, cases with truth, their answers
    case_of: Callable[[Request], Case]  # what was asked about, without truth
    masks: Callable[[Sequence[Case], Sequence[Tensors]], list[Array]]  # each case's answered mask
    views: Callable[[Sequence[Case], Mapping[str, Sequence[Array]]], list[View]]  # cases, masks by name -> pictures
    brief: tuple[str, ...] = ()  # the scores in a benchmark's tables; empty: all
    row_of: Callable[[str], str] = str  # a case's id -> its row's: several cases may be one row, as a scan's slices
    # A data folder, the rows, of each case the outputs that are kept, and the options that were asked for instead of
    # those of Data.cases -> what all have together.
    overall: Callable[[Path, Rows, Mapping[str, Tensors], Mapping[str, float]], Overall] | None = None
    kept: tuple[str, ...] = ()  # the outputs that `overall` needs
    measured: Mapping[str, float] = field(default_factory=dict)  # options that a benchmark asks for, as Data.cases else
    # Answers by name beside their truth, where masks do not do: a data folder, the case.
    drawn: Callable[[Path, Case, Mapping[str, Tensors]], Array] | None = None
    submission: Callable[[Path, Path], Submitted] | None = None  # a data folder, a CSV file; `evaluate --submission`
    unlisted: tuple[str, ...] = ()  # metrics that stand in an evaluation's files alone, not in its printed table
    # Files in the field's own layout beside an evaluation's, by name: a data folder, the rows -> the text.
    written: Mapping[str, Callable[[Path, Rows], str]] = field(default_factory=dict)
