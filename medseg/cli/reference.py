"""docs/cli.md: every command's --help, written by `make docs` and compared by a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from medseg.cli.main import app
from medseg.cli.task_options import TaskCommand, own_parameters
from medseg.tasks import task_named, task_names

_WIDTH = 110


def reference() -> str:
    """The whole command line as Markdown."""
    root = typer.main.get_command(app)
    parts = ["# Commands", "", "The output of `--help`, written by `make docs`.", ""]
    for path, command in _commands("medseg", root):
        context = typer.Context(command, info_name=path, max_content_width=_WIDTH, terminal_width=_WIDTH)
        parts += [f"## {path}", "", "```text", command.get_help(context), "```", ""]
        parts += _own_options(path, context) if isinstance(command, TaskCommand) else []
    return "\n".join(parts)


def _own_options(path: str, context: typer.Context) -> Iterator[str]:
    """A section for each task that has options of its own."""
    for task in map(task_named, task_names()):
        records = [one.get_help_record(context) for one in own_parameters(task)]
        if records:
            yield from (f"### {path} {task.name}", "", "Its own options:", "")
            yield from (f"- `{option}`: {words}" for option, words in records)
            yield ""


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", one)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
