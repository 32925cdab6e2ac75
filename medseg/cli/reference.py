"""docs/cli.md: every command's --help, written by `make docs` and compared by a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from medseg.cli.main import app

_WIDTH = 110


def reference() -> str:
    """The whole command line as Markdown."""
    root = typer.main.get_command(app)
    parts = ["# Commands", "", "The output of `--help`, written by `make docs`.", ""]
    for path, command in _commands("medseg", root):
        context = typer.Context(command, info_name=path, max_content_width=_WIDTH, terminal_width=_WIDTH)
        parts += [f"## {path}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(parts)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", one)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
