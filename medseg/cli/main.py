"""`medseg`: finds the command, runs it, and turns a user's mistake into one `error:` line and exit code 1."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Annotated, NoReturn

import typer

from medseg import __version__
from medseg.cli.batch import batch
from medseg.cli.bench import SeveralFiles, bench
from medseg.cli.data import data
from medseg.cli.disks import of_a_disk
from medseg.cli.doctor import doctor
from medseg.cli.evaluate import evaluate
from medseg.cli.export import export
from medseg.cli.import_ import import_
from medseg.cli.info import info
from medseg.cli.new_task import new_task
from medseg.cli.predict import predict
from medseg.cli.said import failed
from medseg.cli.serve import serve
from medseg.cli.server import server
from medseg.cli.sweep import sweep
from medseg.cli.task_options import TaskCommand
from medseg.cli.train import train
from medseg.cli.verify import verify
from medseg.errors import MedsegError
from medseg.extras import needed
from medseg.scratch import remove_left

INTERRUPTED = 130  # the exit code after Ctrl-C
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    name="medseg",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def medseg(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on))
    ] = False,
) -> None:
    """Production inference and benchmarking for medical image segmentation."""


app.command("info")(info)
app.command("new-task")(new_task)
app.command("doctor")(doctor)
app.add_typer(data, name="data")
app.command("import")(import_)
app.command("train")(train)
# what follows --grid, and options of `medseg train`, reach the command as they are
app.command("sweep", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(sweep)
app.command("evaluate")(evaluate)
app.command("export")(export)
app.command("verify")(verify)
app.command("serve")(serve)
app.add_typer(server, name="server")
app.command("predict", cls=TaskCommand)(predict)
app.command("batch", cls=TaskCommand)(batch)
app.command("bench", cls=SeveralFiles)(bench)


def main() -> None:
    """Run the command line and exit: 0 on success, 1 on a user's mistake, 130 when interrupted."""
    remove_left()
    try:
        with needed():
            code = app(standalone_mode=False)
        if code == INTERRUPTED:  # as typer returns Ctrl-C
            _end(code)
        sys.exit(code)
    except MedsegError as error:
        sys.exit(failed(str(error)))
    except OSError as error:
        sys.exit(failed(of_a_disk(error, sys.argv[1:])))
    except typer.TyperException as error:
        sys.exit(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        _end(INTERRUPTED)


def _end(code: int) -> NoReturn:
    """Clean up and end at once: a thread may wait for an answer that never comes, and Python waits for threads."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _usage(error: typer.TyperException) -> str:
    """A mistake in the words on the command line, as one line; without any words, the help."""
    message = getattr(error, "format_message", error.__str__)()
    if message.startswith("Usage:"):
        return str(message)
    return failed(f"{message.rstrip('.')}; `medseg COMMAND --help` shows an example")


def _version(on: bool) -> None:
    if on:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit
