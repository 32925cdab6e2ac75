"""Splits: which patients are for training and which for validation. Always by patient, never by slice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.data.samples import Samples
from medseg.errors import InputError


@dataclass(frozen=True)
class Split:
    """Two disjoint sets of patients, and in words how they were chosen; the run records this."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    rule: str


def every_nth(patients: Sequence[str], n: int, fold: int = 0) -> Split:
    """Every n-th of the sorted patients validates, starting with number `fold`; with fewer than n patients, one does.

    Raises InputError, as all splits do, where one side would be empty or the fold does not exist.
    """
    names, step = sorted(patients), min(n, len(patients))
    held = names[_fold(fold, step) :: step] if step else []
    return _split(names, held, f"one in {n} of the sorted patients validates, from number {fold} on")


def folds(samples: Samples, count: int, fold: int, seed: int) -> Split:
    """One of `count` folds validates. Each patient is in one fold; empty and other samples are spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    patients = np.array(samples.patients)
    names = sorted(set(samples.patients))
    count = min(count, len(names))
    rule = f"fold {fold} of {count}, stratified by empty masks, grouped by patient, seed {seed}"
    if count < 2:
        return _split(names, [], rule)
    maker = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    parts = [patients[held] for _, held in maker.split(patients, samples.foreground > 0, patients)]
    return _split(names, set(parts[_fold(fold, count)].tolist()), rule)


def drawn(patients: Sequence[str], parts: int, fold: int, seed: int) -> Split:
    """One of `parts` equal parts of the patients validates; they are drawn with a seed."""
    names = sorted(patients)
    shuffled = np.random.default_rng(seed).permutation(np.array(names))
    held = shuffled[_fold(fold, parts) :: parts].tolist()
    return _split(names, held, f"part {fold} of {parts} of the patients, drawn with seed {seed}, validates")


def named(patients: Sequence[str], held: Collection[str], whose: str) -> Split:
    """The patients in `held` validate; names in it that are not among `patients` are ignored."""
    return _split(sorted(patients), held, f"the {len(held)} patients that {whose} names validate")


def _split(names: Sequence[str], held: Collection[str], rule: str) -> Split:
    validation = tuple(name for name in names if name in held)
    train = tuple(name for name in names if name not in held)
    if not train or not validation:
        raise InputError(
            f"{len(names)} patients cannot be split ({rule}); expected one at least on each side: add patients"
        )
    return Split(train, validation, rule)


def _fold(fold: int, count: int) -> int:
    if not 0 <= fold < count:
        raise InputError(f"fold {fold} is not there; expected 0 to {count - 1}: choose another --fold")
    return fold
