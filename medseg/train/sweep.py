"""A sweep: one run for each combination of a grid, and a table of them, best first."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError
from medseg.files import whole_file
from medseg.run import Run

Choice = dict[str, str]  # an option of `medseg train` without its dashes -> its value


def grid_from(words: Sequence[str]) -> list[Choice]:
    """Every combination of words such as `loss=dice,iou`, in order. Raises InputError for other words."""
    axes: dict[str, list[str]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (name and equals and all(values.split(","))):
            raise InputError(f"--grid has {word!r}; expected an option and its values such as loss=dice,iou")
        axes[name.strip("-").replace("_", "-")] = values.split(",")
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def sweep(network: str, data: Path, out: Path, choices: Sequence[Choice], more: Sequence[str]) -> list[dict[str, Any]]:
    """The table's rows, best first, once every combination has its finished run in `out`; kept up to date on the way.

    A run that is there and finished is left alone, one that was stopped goes on; `more` goes to all runs.
    Each fit is a process of its own, so that one that dies takes nothing with it. Raises MedsegError where one fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    for choice in choices:
        folder = out / name_of(choice)
        if not finished(folder):
            _train(network, data, folder, choice, more)
        write_tables(out, table(out, choices))
    return table(out, choices)


def name_of(choice: Choice) -> str:
    """The folder's name for a combination: `loss-dice_optimizer-adam`."""
    return "_".join(f"{name}-{value}".replace("/", "-") for name, value in choice.items()) or "run"


def finished(folder: Path) -> bool:
    """Whether a fit ended here."""
    return (folder / "manifest.json").is_file() and "result" in Run(folder).manifest


def table(out: Path, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """One row for each finished run: its choices, losses and scores at its best epoch, best first."""
    rows = [_row(out / name_of(choice), choice) for choice in choices if finished(out / name_of(choice))]
    return sorted(rows, key=lambda row: -row["score"])


def write_tables(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write sweep.csv and sweep.md."""
    with whole_file(out / "sweep.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(out / "sweep.md") as path:
        path.write_text(markdown(rows))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(folder: Path, choice: Choice) -> dict[str, Any]:
    result = Run(folder).manifest["result"]
    losses = {name: result[name] for name in ("train_loss", "val_loss") if name in result}
    return {
        **choice,
        "epoch": int(result["epoch"]),
        **losses,
        "score": result[result["best_by"]],
        "by": result["best_by"],
        "run": folder.name,
    }


def _train(network: str, data: Path, folder: Path, choice: Choice, more: Sequence[str]) -> None:
    resume = ["--resume"] if (folder / "manifest.json").is_file() else []
    command = [sys.executable, "-m", "medseg", "train", network, str(data), "--out", str(folder)]
    answer = subprocess.run([*command, *_options(choice), *more, *resume], capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = answer.stderr.strip().splitlines()[-1:] or [f"exit code {answer.returncode}"]
        raise MedsegError(f"fit {folder} failed: {reason[0].removeprefix('error: ')}")


def _options(choice: Choice) -> Iterator[str]:
    for name, value in choice.items():
        yield from (f"--{name}", value)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
