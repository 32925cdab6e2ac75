"""Damaged LabelMe files: refused in one sentence, or read as they were; where a number is another, as that number."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.data.labelme import mask_of, read_labelme
from medseg.task import Array
from tests.dali_pipelines.damage import damaged
from tests.data.drawn import HOLE, LESION, SIZE, content, piece, shape
from tests.fuzz.outcomes import COUNTS, counted, outcome

SHAPES = [
    LESION,
    HOLE,
    shape("polygon", (1, 1), (40, 3), (30, 30), (4, 20)),
    shape("circle", (20, 20), (25, 20)),
    piece(np.ones((4, 5), np.uint8), 30, 20),
]
WHOLE = content(shapes=json.loads(json.dumps(SHAPES)))
NESTED: list[Any] = [[[[[[]]]]]]
JUNK = [None, True, "", "x" * 99, [], {}, NESTED, 1e30, float("nan"), float("-inf"), 10**400]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    yield path
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def with_junk(count: int) -> Iterator[tuple[str, bytes, bool]]:
    """The document with something else in one place, and whether what is there then means something else."""
    rng, everywhere = np.random.default_rng(11), list(places(WHOLE))[1:]
    for _ in range(count):
        path, junk = everywhere[rng.integers(len(everywhere))], JUNK[rng.integers(len(JUNK))]
        document = deepcopy(WHOLE)
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = junk
        legal = (path == ("shapes",) and junk == []) or (path[-1] == "shape_type" and not junk)
        yield f"{path} is {str(junk)[:20]}", json.dumps(document).encode(), legal


def with_damage(count: int) -> Iterator[tuple[str, bytes, bool]]:
    whole = json.dumps(WHOLE).encode()
    return ((f"number {number}", data, True) for number, data in enumerate(damaged(whole, count, seed=7)))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("hurt", [with_junk, with_damage])
def test_damaged_annotations(hurt: Any, count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def read() -> Array:
        return mask_of(read_labelme(path, ["STAS"]), SIZE)

    def outcomes() -> Iterator[tuple[str, str]]:
        path.write_text(json.dumps(WHOLE))
        wanted = read()
        for name, data, altered in hurt(count):
            path.write_bytes(data)
            yield outcome(read, lambda found: np.array_equal(found, wanted), altered), name

    found = counted(outcomes())
    assert found["clear"] >= count // 2, found
