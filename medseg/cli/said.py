"""Messages besides the result: on stderr, in colour if it is a terminal and NO_COLOR is not set."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import typer

_COLOURS = {"error": "red", "warning": "yellow", "note": "yellow", "problem": "red", "ok": "green", "missing": "yellow"}


def coloured(word: str, text: str, err: bool = False) -> str:
    """The text in the colour of a word such as "error", where the stream shows colours."""
    stream = sys.stderr if err else sys.stdout
    shown = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return typer.style(text, fg=_COLOURS[word], bold=word == "error") if shown and word in _COLOURS else text


def say(kind: str, text: str) -> None:
    """Print a note or a warning on stderr."""
    typer.echo(f"{coloured(kind, f'{kind}:', err=True)} {text}", err=True, color=True)


def failed(text: str) -> str:
    """The line of an error."""
    return f"{coloured('error', 'error:', err=True)} {text}"


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Tell a user at a terminal what is being done, and how long it took."""
    started = perf_counter()
    if sys.stderr.isatty():
        typer.echo(f"{what} ...", err=True, nl=False)
    try:
        yield
    finally:
        if sys.stderr.isatty():
            typer.echo(f" {perf_counter() - started:.1f} s", err=True)
