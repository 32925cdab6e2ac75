"""Scores a submission of the UW-Madison competition, as `medseg predict gi-tract` writes it, against `train.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from medseg.data.table import read_table
from medseg.errors import InputError
from medseg.metrics.uw_madison import pooled
from medseg.scoring import Overall, Submitted
from medseg.task import Array
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.reader import SLICE_MM, Slice, labelled, patients, read_mask, truths
from medseg.tasks.gi_tract.scan import scan_scores

COLUMNS = ("id", "class", "predicted")

Texts = Mapping[tuple[str, str], str]  # slice id and class -> run-length text


def submitted(directory: Path, submission: Path) -> Submitted:
    """A submission's scores: the pooled score, each scan's, and notes on rows that do not count.

    Only slices count that `train.csv` lists and whose files exist. Raises InputError where a file is wrong, or the
    submission lacks a row of a slice that counts.
    """
    known = [one for patient in patients(directory) for one in labelled(directory, patient)]
    if not known:
        raise InputError(f"{directory} has no slices that its train.csv lists; expected a truth: add them")
    texts = _texts(submission)
    wanted = {(one.id, name) for one in known for name in GI_TRACT.classes}
    missing, strange = len(wanted - texts.keys()), len(texts.keys() - wanted)
    if missing:
        raise InputError(
            f"{submission}: has no row for {missing} of {len(wanted)} pairs of slice and class; expected one for each "
            "slice and class of train.csv: add them, empty where there is no organ"
        )
    days = groupby(known, key=lambda one: one.day)
    rows = {day: _scan(list(slices), texts, directory, submission) for day, slices in days}
    note = f"{strange} of {len(texts)} rows are of slices that {directory} does not have or list: they do not count"
    return Submitted(rows, Overall(pooled(rows)), (note,) if strange else ())


def _texts(submission: Path) -> Texts:
    """The submission's texts. Raises InputError for an unknown class, and for two rows of one slice and class."""
    texts: dict[tuple[str, str], str] = {}
    for row in read_table(submission, COLUMNS):
        name, organ, text = row.texts
        if organ not in GI_TRACT.classes:
            raise InputError(
                f"{submission}, line {row.line}: has the class {organ[:20]!r}; expected one of "
                f"{', '.join(GI_TRACT.classes)}: correct the line"
            )
        if (name, organ) in texts:
            raise InputError(f"{submission}, line {row.line}: is a second row of this slice and class: remove one")
        texts[name, organ] = text
    return texts


def _scan(slices: Sequence[Slice], texts: Texts, directory: Path, submission: Path) -> dict[str, float]:
    """The scores of one scan's slices."""
    truth = truths(directory)
    answered = [read_mask(one, {name: texts[one.id, name] for name in GI_TRACT.classes}, submission) for one in slices]
    there = [read_mask(one, truth[one.id], directory / "train.csv") for one in slices]
    return scan_scores(_volume(answered), _volume(there), (SLICE_MM, *slices[0].spacing_mm))


def _volume(masks: Sequence[Array]) -> Array:
    return np.stack(masks, axis=1)
