"""A bench.json that is not what medseg wrote is refused in one sentence, whatever is wrong with it."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.bench.judge import compare as comparison
from medseg.bench.judge.compare import compare
from medseg.bench.judge.limits import check_limits, usual_limits
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.stored import read_json, rounded
from medseg.errors import InputError
from tests.bench.measuring import measured
from tests.bench.servers import question, target
from tests.shared import SHARED, needs_shared

Place = tuple[str | int, ...]
WRONG = [
    None,
    "x",
    "",
    -1,
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    10**400,
    5e-324,
    True,
    [],
    {},
    [1],
    {"a": 1},
    "\ud800",
]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    cases = [question(f"case {n}") for n in range(2)]
    plan = Plan(warmup=0, rounds=3, requests=6, window_s=0.02, stable=1.0)
    whole = rounded(measured([target()], cases, Loads((1,)), plan, lambda _: {"dice": 0.9}))
    (level,) = whole["targets"][0]["levels"]
    whole["targets"][0]["serial"].pop("summary"), level.pop("summary")
    level["timings"] = {name: column[:4] for name, column in level["timings"].items()}
    return whole


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Every place in a document, of a list the first entry alone."""
    yield here
    inside = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*here, key))


def changed(document: Any, place: Place, value: Any) -> Any:
    """A copy of a document with another value, or none where it is `places`, at one place."""
    if not place:
        return value
    new = copy.deepcopy(document)
    at = new
    for key in place[:-1]:
        at = at[key]
    if value is places:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return new


def compared(path: Path, after: dict[str, Any]) -> bool:
    """Whether an earlier bench.json can be compared with; anything but InputError passes through."""
    try:
        before = read_json(path)
        limits = usual_limits(before) | {"p99": 0.1, "throughput": -0.1}
        check_limits(usual_limits(before), before)
        compare(before, after, limits)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    return True


def test_a_document_with_anything_else_anywhere_is_compared_or_refused(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_RESAMPLES", 3)
    path, refused = tmp_path / "bench.json", 0
    used = ("name", "serial", "levels", "scores", "problems", "yardstick_s")  # what a comparison does not read is free
    read = {key: made[key] for key in ("schema", "task", "main", "started")}
    read["targets"] = [{key: made["targets"][0][key] for key in used}]
    path.write_text(json.dumps(read))
    assert compared(path, made), "as it was written, it can be compared with"
    for place in places(read):
        for value in (*WRONG, places):
            if place or value is not places:
                path.write_text(json.dumps(changed(read, place, value)))
                refused += not compared(path, made)
    assert refused > 300


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a bench.json"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"\xff\xfe\x00", "is not a bench.json"),
        (b"\x89PNG\r\n", "is not a bench.json"),
        (b"null", "it is nothing; expected an object"),
        (b"[1]", "it is a list; expected an object"),
        (b"{}", "it has no entry 'schema'"),
        (b'{"schema": 1}', "has schema 1; this version of medseg compares schema 2"),
        (b'{"schema": true}', "it has no entry 'task'"),
        (
            b'{"schema": 2, "task": "luna", "main": "", "started": "", "targets": 5}',
            "it.targets is a number; expected a list",
        ),
        (b"1" * 5000, "is not a bench.json"),
    ],
)
def test_what_is_no_bench_json_is_refused_with_its_path(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read_json(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_a_device_and_nothing_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "absent"):
        with pytest.raises(InputError, match=r"is not a file; expected a bench\.json"):
            read_json(path)


@needs_shared
def test_the_deeply_nested_case_is_one_sentence() -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        read_json(SHARED / "cases/security/bench_deep.json")
