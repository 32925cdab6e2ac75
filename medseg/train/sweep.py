"""A sweep: one run for each combination of a grid, and a table of them, best first."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tqdm import tqdm

from medseg.errors import InputError, MedsegError, RunError
from medseg.files import whole_file
from medseg.manifest import MANIFEST
from medseg.run import PROGRAM, Run
from medseg.schema import a, mapping, number, read_json, record, text

Choice = dict[str, str]  # an option of `medseg train` without its dashes -> its value
ASKED = "asked.json"  # in a run's folder: its options, so that it is not mistaken for another
ANYHOW = ("devices", "workers", "wandb")  # may differ, because the fit is the same
RECIPE = ("loss", "optimizer", "lr", "weight_decay", "schedule")  # columns of the LGG project's table
_SECONDS = 1.0  # between two looks at a fit's history
_ASKED = mapping(text())
_ANEW = "remove that folder to train it again"
_SETTING = a("a number or a text", lambda value: isinstance(value, str) or number(value))
_RANKED = record(  # what the table takes from a manifest
    {
        "result": record({"best_by": text(), "epoch": a("a finite number", number)}),
        "source": record({"recipe": record(dict.fromkeys(RECIPE, _SETTING))}),
    }
)


def grid_from(words: Sequence[str]) -> list[Choice]:
    """Every combination of words such as `loss=dice,iou`, in order. Raises InputError for other words."""
    axes: dict[str, list[str]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not (name and equals and all(values.split(","))):
            raise InputError(f"--grid has {word!r}; expected an option and its values such as loss=dice,iou")
        axes[name.strip("-").replace("_", "-")] = values.split(",")
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


@dataclass(frozen=True)
class Asked:
    """A fit to be run: its run's folder, and the arguments of `medseg train`."""

    folder: Path
    words: tuple[str, ...]


Tell = Callable[[str], object]
Fits = Callable[[Sequence[Asked], Tell], Iterator[Asked]]  # runs fits; yields each when it has ended


def one_by_one(asked: Sequence[Asked], tell: Tell) -> Iterator[Asked]:
    """Run one fit after the other, on this machine."""
    for one in asked:
        carry_out(one, tell)
        yield one


def sweep(
    network: str,
    data: Path,
    out: Path,
    choices: Sequence[Choice],
    more: Sequence[str],
    fits: Fits = one_by_one,
) -> list[dict[str, Any]]:
    """The table's rows, best first, once every combination has its finished run in `out`; kept up to date on the way.

    A run that is there and finished is left alone, one that was stopped goes on; `more` goes to all runs.
    Each fit is a process of its own, so that one that dies takes nothing with it; `fits` says where. Raises MedsegError
    where one fails, and RunError where a run is there that was asked for something else, or cannot be ranked.
    """
    common = {"network": network, "data": str(data), **named(more)}
    for choice in choices:
        _refuse_another(out / name_of(choice), common | choice)
    left = [choice for choice in choices if not finished(out / name_of(choice))]
    asked = []
    for choice in left:
        folder = out / name_of(choice)
        _note(folder, common | choice)
        asked.append(Asked(folder, (network, str(data), "--out", str(folder), *_options(choice), *more)))
    with tqdm(total=len(choices), initial=len(choices) - len(left), desc="sweep", unit="fit", disable=None) as bar:
        write_tables(out, table(out, choices))
        for _ in fits(asked, bar.set_postfix_str):
            bar.update()
            write_tables(out, table(out, choices))
    return table(out, choices)


def named(words: Sequence[str]) -> Choice:
    """Options by name, of `--epochs 30`, `--epochs=30` or `--flag`."""
    options: Choice = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word.removeprefix("--").partition("=")
            options[name] = value
        elif name:
            options[name] = word
    return options


def _note(folder: Path, asked: Choice) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / ASKED) as path:
        path.write_text(json.dumps(asked, indent=2) + "\n")


def _refuse_another(folder: Path, asked: Choice) -> None:
    """Raise RunError where the folder's run was asked for something else, or is finished and cannot be ranked."""
    if not (folder / MANIFEST).is_file() or not (folder / ASKED).is_file():
        return
    held = _asked(folder / ASKED)
    for name in sorted((held.keys() | asked.keys()) - set(ANYHOW)):
        was, now = held.get(name, "the default"), asked.get(name, "the default")
        if not _same(was, now):
            raise RunError(
                f"run {folder} was fitted with {name} {was}; this sweep asks for {now}: "
                "choose another --out, or remove that folder to train it again"
            )
    if finished(folder):
        _row(folder, {})


def _asked(path: Path) -> Choice:
    """A run's options. Raises RunError where the file is not as a sweep writes it."""
    try:
        asked = read_json(path)
        problem = _ASKED(asked, "it")
    except ValueError as error:
        problem = f"it is not valid JSON ({str(error).splitlines()[0]})"
    if problem:
        raise RunError(f"{path} does not say which options its run was started with: {problem}; {_ANEW}")
    return dict(asked)


def _same(was: str, now: str) -> bool:
    try:
        return float(was) == float(now)
    except ValueError:
        return was == now


def name_of(choice: Choice) -> str:
    """The folder's name for a combination: `loss-dice_optimizer-adam`."""
    return "_".join(f"{name}-{value}".replace("/", "-") for name, value in choice.items()) or "run"


def finished(folder: Path) -> bool:
    """Whether a fit ended here, with everything it writes."""
    if not (folder / MANIFEST).is_file() or not (folder / ASKED).is_file():
        return False
    run = Run(folder)
    return "result" in run.manifest and PROGRAM in run.files


def table(out: Path, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """One row for each finished run: its choices and recipe, losses and score at its best epoch, best first."""
    rows = [_row(out / name_of(choice), choice) for choice in choices if finished(out / name_of(choice))]
    return sorted(rows, key=lambda row: -row["score"])


def write_tables(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write sweep.csv and sweep.md."""
    with whole_file(out / "sweep.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows(rows)
    with whole_file(out / "sweep.md") as path:
        path.write_text(markdown(rows))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    names = _columns(rows)
    lines = [names, ["---"] * len(names), *([_cell(name, row.get(name, "")) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All that the rows have: one that was fitted by another version may lack a loss."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _row(folder: Path, choice: Choice) -> dict[str, Any]:
    """A finished run's row. Raises RunError where its manifest lacks what the table shows."""
    manifest = Run(folder).manifest
    if problem := _RANKED(manifest, "it"):
        raise RunError(f"{folder / MANIFEST} cannot be ranked: {problem.removeprefix('it.')}; {_ANEW}")
    result, recipe = manifest["result"], manifest["source"]["recipe"]
    losses = {name: result[name] for name in ("train_loss", "val_loss") if name in result}
    chosen = {name.replace("-", "_"): value for name, value in choice.items()}
    return {
        **{name: recipe.get(name, value) for name, value in chosen.items()},
        **{name: recipe[name] for name in RECIPE},
        "epoch": int(result["epoch"]),
        **losses,
        "score": result[result["best_by"]],
        "by": result["best_by"],
        "run": folder.name,
    }


def carry_out(asked: Asked, tell: Tell, prepare: Callable[[], object] | None = None) -> None:
    """Fit in a process of its own; `tell` gets the run and the number of its finished epochs.

    `prepare` is called in that process before it begins. Raises MedsegError, with the reason that the fit gave, where
    it fails.
    """
    folder = asked.folder
    resume = ["--resume"] if (folder / MANIFEST).is_file() else []
    with TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "medseg", "train", *asked.words, *resume]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, text=True, preexec_fn=prepare
        ) as process:
            while process.poll() is None:
                tell(f"{folder.name}: {_epochs(folder)} epochs")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS)
        if process.returncode:
            said.seek(0)
            reason = said.read().strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
            raise MedsegError(f"fit {folder} failed: {reason[0].removeprefix('error: ')}")


def _epochs(folder: Path) -> int:
    """How many rows the run's history has."""
    path = folder / "history.csv"
    return len(path.read_text().splitlines()) - 1 if path.is_file() else 0


def _options(choice: Choice) -> Iterator[str]:
    for name, value in choice.items():
        yield from (f"--{name}", value)


def _cell(name: str, value: Any) -> str:
    """Losses and scores with four digits, the recipe's numbers as short as they are."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if name.endswith(("loss", "score")) else f"{value:g}"
