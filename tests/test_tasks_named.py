"""No code outside a task's own folder names the task or one of its networks; the syntax trees are searched.

Docstrings and help texts may name them in examples: `medseg predict luna ct.mhd` says more than TASK and INPUT.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import medseg
from medseg.tasks import task_named, task_names

ROOT = Path(medseg.__file__).parent
OURS = ("tasks", "models")  # the tasks' own folders, and the architectures of published networks
ALLOWED = {"luna-dice"}  # a loss, which is a model's business


def _named() -> re.Pattern[str]:
    names = {name for task in map(task_named, task_names()) for name in (task.name, *_networks(task))}
    generic = {"picture", "volume"}  # common words, which mean something else elsewhere
    every = {spelling for name in names - generic for spelling in (name, name.replace("-", "_"))}
    return re.compile(rf"(?<![a-z0-9])({'|'.join(sorted(every, key=len, reverse=True))})(?![a-z0-9])", re.IGNORECASE)


def _networks(task) -> list[str]:
    return [network.name for network in task.networks]


def _docstrings(tree: ast.AST) -> set[int]:
    """The ids of the nodes of docstrings in a tree."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def _helps(tree: ast.AST) -> set[int]:
    """The ids of the nodes of texts that are shown as help."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        id(one)
        for call in calls
        for keyword in call.keywords
        if keyword.arg == "help"
        for one in ast.walk(keyword.value)
    }


def namings(source: str) -> Iterator[str]:
    """The places where a source names a task: in a text, an identifier, or an import from its folder."""
    tree, pattern = ast.parse(source), _named()
    left_out = _docstrings(tree) | _helps(tree)
    for node in ast.walk(tree):
        texts: list[str] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            texts = [node.value]
        elif isinstance(node, ast.ImportFrom):
            texts = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            texts = [alias.name for alias in node.names]
        elif isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef | ast.Attribute | ast.arg | ast.keyword):
            texts = [
                next(getattr(node, field) for field in ("id", "name", "attr", "arg") if hasattr(node, field)) or ""
            ]
        for text in texts:
            if text not in ALLOWED and (found := pattern.search(text)):
                yield f"{getattr(node, 'lineno', 0)}: {found[0]!r} in {text[:60]!r}"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('if task.name == "luna": pass', 1),
        ("from medseg.tasks.gi_tract import pipeline", 1),
        ("import medseg.tasks.stas.reader as reader", 1),
        ('COMMANDS = {"stas": 1, "brain-lgg": 2}', 2),
        ('raise ValueError("--roi belongs to LUNA")', 1),
        ('f"{network}: gi-tract"', 1),
        ("def _luna(data): pass", 1),
        ("luna_options = 1", 1),
        ('"""Example: medseg predict luna ct.mhd"""', 0),
        ('def f():\n    """Example: medseg predict luna."""', 0),
        ('typer.Option(help="such as luna-segment")', 0),
        ('typer.Option("--luna", help="x")', 1),
        ('x = "lunar"', 0),
    ],
)
def test_the_check_sees_every_way_to_name_a_task(source: str, count: int) -> None:
    assert len([*namings(source)]) == count


def test_no_code_outside_a_tasks_own_folder_names_it() -> None:
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in OURS]
    found = [f"{path.relative_to(ROOT)}:{one}" for path in files for one in namings(path.read_text())]
    assert len(files) > 100
    assert not found, "\n".join(found)


def test_the_tasks_registry_names_none_either() -> None:
    for name in ("__init__", "plugins", "streaming", "on_request"):
        assert not [*namings((ROOT / "tasks" / f"{name}.py").read_text())]
