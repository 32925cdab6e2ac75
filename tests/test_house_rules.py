"""The countable rules of CONTRIBUTING.md: lengths, numbers of parameters, and untyped fields of records."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("medseg", "tests", "benchmarks", "examples")
MOST_LINES, MOST_OF_A_FUNCTION, USUAL_OF_A_FUNCTION, MOST_PARAMETERS = 300, 60, 10, 6
RECORDS = ("task.py", "pipeline.py", "tensor.py", "scoring.py", "geometry.py", "bringing.py", "bench/record.py")
# Fields whose type only the networks' builders, the tasks' own files and the writers of answers know.
UNTYPED = {"Network.build", "Network.options", "Network.keys", "Request.source", "Request.made_by"}


@cache
def trees() -> dict[Path, ast.Module]:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in files}


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, tree in trees().items():
        yield from ((path, one) for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def length(one: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert one.end_lineno
    return one.end_lineno - one.lineno + 1


def parameters(one: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    named = (*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs)
    return len([arg for arg in named if arg.arg not in ("self", "cls")])


def test_no_file_is_too_long() -> None:
    assert len(trees()) > 500
    counts = {str(path): len((ROOT / path).read_text().splitlines()) for path in trees()}
    assert not {path: count for path, count in counts.items() if count > MOST_LINES}


def test_functions_are_short() -> None:
    lengths = {f"{path}:{one.name}": length(one) for path, one in functions()}
    assert not {name: count for name, count in lengths.items() if count > MOST_OF_A_FUNCTION}
    assert median(lengths.values()) <= USUAL_OF_A_FUNCTION


@pytest.mark.parametrize("folder", FOLDERS)
def test_parameters_are_few(folder: str) -> None:
    """Not in cli/: a command's parameters are its options, which its help lists."""
    found = [(path, one) for path, one in functions() if path.parts[0] == folder and path.parts[1] != "cli"]
    assert not [f"{path}:{one.name}" for path, one in found if parameters(one) > MOST_PARAMETERS]


def test_the_records_say_what_they_hold() -> None:
    found = set()
    for name in RECORDS:
        for one in ast.walk(trees()[Path("medseg") / name]):
            fields = [field for field in one.body if isinstance(field, ast.AnnAssign)] if _is_record(one) else []
            found |= {f"{one.name}.{ast.unparse(field.target)}" for field in fields if "Any" in _names(field)}
    assert found <= UNTYPED


def _is_record(one: ast.AST) -> bool:
    return isinstance(one, ast.ClassDef) and any("dataclass" in ast.unparse(mark) for mark in one.decorator_list)


def _names(field: ast.AnnAssign) -> set[str]:
    return {one.id for one in ast.walk(field.annotation) if isinstance(one, ast.Name)}
