import numpy as np
import pytest

from medseg.data.samples import Samples
from medseg.data.split import Split, drawn, every_nth, folds, named
from medseg.errors import InputError
from medseg.tasks.brain_lgg import reader as brain
from medseg.tasks.stas import reader as stas
from tests.shared import SHARED, needs_shared

NAMES = [f"p{number:02}" for number in range(25)]


def whole(split: Split, names: list[str]) -> bool:
    return sorted(split.train + split.validation) == names and not set(split.train) & set(split.validation)


def slices(patients: int = 25, each: int = 40) -> Samples:
    rng = np.random.default_rng(0)
    names = [f"p{number:02}" for number in range(patients) for _ in range(each)]
    return Samples(lambda index: (np.zeros(1), index), tuple(names), rng.integers(0, 2, len(names)) * 100.0)


def test_every_tenth_validates() -> None:
    split = every_nth(NAMES, 10)
    assert whole(split, NAMES)
    assert split.validation == ("p00", "p10", "p20")
    assert every_nth(NAMES, 10, fold=3).validation == ("p03", "p13", "p23")
    assert every_nth(NAMES[:2], 10).validation == ("p00",)


def test_folds_share_patients_out_and_have_as_many_empty_slices_each() -> None:
    samples = slices()
    parts = [folds(samples, 5, fold, seed=0) for fold in range(5)]
    assert all(whole(split, NAMES) for split in parts)
    assert sorted(name for split in parts for name in split.validation) == NAMES
    for split in parts:
        held = np.isin(samples.patients, split.validation)
        assert abs((samples.foreground[held] > 0).mean() - (samples.foreground > 0).mean()) < 0.03
    assert folds(samples, 5, 0, seed=0) == parts[0]
    assert folds(samples, 5, 0, seed=1) != parts[0]


def test_drawn_parts_are_disjoint_and_repeat() -> None:
    parts = [drawn(NAMES, 4, fold, seed=7) for fold in range(4)]
    assert all(whole(split, NAMES) for split in parts)
    assert sorted(name for split in parts for name in split.validation) == NAMES
    assert drawn(NAMES[::-1], 4, 0, seed=7) == parts[0]


def test_named_patients_validate() -> None:
    split = named(NAMES, ["p03", "p04", "elsewhere"], "the reference")
    assert whole(split, NAMES)
    assert split.validation == ("p03", "p04")


def test_too_few_patients_and_folds_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="1 patients cannot be split"):
        drawn(["alone"], 4, 0, seed=0)
    with pytest.raises(InputError, match="cannot be split"):
        folds(slices(patients=1), 5, 0, seed=0)
    with pytest.raises(InputError, match="expected 0 to 4"):
        folds(slices(), 5, 5, seed=0)


@needs_shared
def test_the_brains_ten_named_patients_validate() -> None:
    listed = (SHARED / "data/brain_lgg/validation_patients.txt").read_text().split()
    split = brain.split(SHARED / "data/brain_lgg")
    assert set(split.validation) == set(listed) == set(brain.VALIDATION)
    assert len(split.train) == 12


@needs_shared
def test_a_quarter_of_the_stas_pictures_validates() -> None:
    split = stas.split(SHARED / "data/stas", 0)
    assert (len(split.train), len(split.validation)) == (60, 21)
