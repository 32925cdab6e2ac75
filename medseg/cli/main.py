"""`medseg`: finds the command, runs it, and turns a user's mistake into one `error:` line and exit code 1."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click
import typer

from medseg.errors import MedsegError

# A command's module holds a function of the same name; the order is that of the help text.
COMMANDS = ("info", "doctor", "data", "import", "train", "sweep", "evaluate", "export", "verify", "serve", "predict", "bench")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Production inference and benchmarking for medical image segmentation.",
)
