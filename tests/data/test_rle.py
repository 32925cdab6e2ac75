import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg.data import rle
from medseg.errors import InputError
from tests.shared import SHARED, needs_shared

GI_TRACT = SHARED / "data/gi_tract"


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)))
def test_any_mask_comes_back(mask: np.ndarray) -> None:
    text = rle.encode(mask)
    assert (rle.decode(text, mask.shape) == mask).all()
    assert rle.pixels(text) == mask.sum()


def test_runs_go_row_by_row_from_one() -> None:
    assert rle.decode("1 2 6 1", (2, 3)).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert rle.encode(np.array([[0, 1, 1], [1, 0, 0]])) == "2 3"
    assert not rle.decode("", (2, 3)).any()


@pytest.mark.parametrize("text", ["1", "1 2 3", "a b", "0 2", "3 0", "6 2", "1 -1", "1.5 2", "99999999999999999999 1"])
def test_wrong_text_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match="run lengths"):
        rle.decode(text, (2, 3))


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "None", "NULL", "<NA>", " nan\n"])
def test_text_that_says_nothing_is_an_empty_mask(text: str) -> None:
    assert not rle.decode(text, (2, 3)).any()
    assert rle.pixels(text) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 2", "starts that count from 1"),
        ("4 1 1 2", "a run from 1 behind one that ends at 4; expected runs in order"),
        ("1 3 2 2", "do not overlap"),
        ("1 1 1 1", "do not overlap"),
        ("1", "pairs"),
        ("1.0 2.0", "whole numbers"),
        ("1,2", "whole numbers"),
        ("1_0 2", "whole numbers"),
        ("\N{ARABIC-INDIC DIGIT ONE} 2", "whole numbers"),
        ("1 0", "length of 0"),
        ("5 3", "inside 2 x 3 pixels"),
        ("9223372036854775807 1", "whole numbers"),
        ("999999999999999999 999999999999999999", "inside 2 x 3"),
    ],
)
def test_each_fault_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rle.decode(text, (2, 3))


def test_runs_may_touch() -> None:
    assert (rle.decode("1 2 3 1", (2, 3)) == rle.decode("1 3", (2, 3))).all()


@needs_shared
def test_every_real_text_comes_back() -> None:
    with (GI_TRACT / "slice_paths.csv").open() as file:
        shapes = {row["id"]: (int(row["height"]), int(row["width"])) for row in csv.DictReader(file)}
    with (GI_TRACT / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == 1344
    assert all(rle.encode(rle.decode(row["segmentation"], shapes[row["id"]])) == row["segmentation"] for row in rows)
