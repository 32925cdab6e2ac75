"""Damaged LabelMe files: refused in one sentence, or read as they were; where a number is another, as that number."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.labelme import mask_of, read_labelme
from medseg.task import Array
from tests.dali_pipelines.damage import damaged
from tests.data.drawn import HOLE, LESION, SIZE, content, piece, shape
from tests.fuzz.outcomes import Campaign, Outcome, outcome

Hurt = Callable[[int, int], Iterator[tuple[str, bytes, bool]]]  # how many, a seed -> name, bytes, may be read otherwise
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


def junk_in(whole: Any, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The document with something else in one place: where and what, and the file."""
    for path, junk, document in _with_junk(whole, count, seed):
        yield f"{path} is {str(junk)[:20]}", json.dumps(document).encode()


def _with_junk(whole: Any, count: int, seed: int) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    rng, everywhere = np.random.default_rng(seed), list(places(whole))[1:]
    for _ in range(count):
        path, junk = everywhere[rng.integers(len(everywhere))], JUNK[rng.integers(len(JUNK))]
        document = deepcopy(whole)
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = junk
        yield path, junk, document


def with_junk(count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """The annotation with something else in one place, and whether what is there then means something else."""
    for path, junk, document in _with_junk(WHOLE, count, seed):
        legal = (path == ("shapes",) and junk == []) or (path[-1] == "shape_type" and not junk)
        yield f"{path} is {str(junk)[:20]}", json.dumps(document).encode(), legal


def with_damage(count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    whole = json.dumps(WHOLE).encode()
    return ((f"number {number}", data, True) for number, data in enumerate(damaged(whole, count, seed)))


def outcomes(hurt: Hurt, count: int, folder: Path, seed: int) -> Iterator[Outcome]:
    path = folder / "a.json"

    def read() -> Array:
        return mask_of(read_labelme(path, ["STAS"]), SIZE)

    path.write_text(json.dumps(WHOLE))
    wanted = read()
    for name, data, altered in hurt(count, seed):
        path.write_bytes(data)
        yield outcome(read, lambda found: np.array_equal(found, wanted), altered), name


CAMPAIGNS = {
    "LabelMe, junk in a place": Campaign(partial(outcomes, with_junk), clear=0.5),
    "LabelMe, bytes": Campaign(partial(outcomes, with_damage), clear=0.5),
}
