"""How well brain-lgg's recipes outline tumours of new patients: cross-validation; every patient is scored once.

    python -m benchmarks.lgg_cross_validation DIR --out FOLDER [--folds 2] [--seed 0] [--recipe NAME ...] [--fold N ...]

Folds are drawn by patient. A fit keeps its last epoch, so that the held-out patients have no influence on it. Scores
are those of `medseg evaluate`: Dice of the largest component, on the volumes' own grid. The recipes take turns, fold by
fold, in one process. A fit that is in FOLDER already is not repeated. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from medseg.api.evaluation import evaluations
from medseg.data.split import Split
from medseg.engines.runs import lineups
from medseg.export.graph import save_program
from medseg.files import whole_file
from medseg.metrics.means import means
from medseg.run import Run
from medseg.task import Recipe
from medseg.tasks import network_named, task_named, training_of
from medseg.train.data import DataModule
from medseg.train.fit import fit, starting_module
from medseg.train.settings import Settings, start_run

TASK, NETWORK = task_named("brain-lgg"), network_named("brain-lgg")
MISSED = 0.01  # a Dice below this: the answer is at another place, or empty


@dataclass(frozen=True)
class Way:
    """One way to fit."""

    settings: Settings
    colours: bool  # whether the values of training samples are changed


_EARLIER = Recipe(epochs=12, batch_size=16, lr=1e-3, loss="dice", schedule="linear")
_NOW = replace(_EARLIER, batch_size=8, lr=4e-3, schedule="cosine")
WAYS = {
    "earlier": Way(Settings(_EARLIER, size=128, samples_per_epoch=240, keep="last"), False),
    "now": Way(Settings(_NOW, size=64, samples_per_epoch=240, keep="last"), True),
    "now-plain": Way(Settings(_NOW, size=64, samples_per_epoch=240, keep="last"), False),
}
OPTIONS = {"arch": "unet", "features": 8}


def main() -> None:
    """Make and score the missing fits, and print the table of all."""
    asked = _options()
    found = {name: {"cases": {}, "seconds": []} for name in asked.recipe or WAYS}
    for number, split in enumerate(splits(asked.data, asked.folds, asked.seed)):
        if asked.fold and number not in asked.fold:
            continue
        for name, so_far in found.items():
            made = judged(asked.data, WAYS[name], split, asked.out / f"{name}-{asked.seed}-{number}of{asked.folds}")
            so_far["cases"] |= made["cases"]
            so_far["seconds"].append(made["seconds"])
    print(markdown(found))


def splits(directory: Path, count: int, seed: int) -> Iterator[Split]:
    """`count` splits of the folder's patients; each patient is held out in one."""
    names = sorted(TASK.known_data("fit").patients(directory))
    order = np.random.default_rng(seed).permutation(np.array(names)).tolist()
    for number in range(count):
        held = sorted(order[number::count])
        rule = f"part {number} of {count}, drawn with seed {seed}, validates"
        yield Split(tuple(name for name in names if name not in held), tuple(held), rule)


def judged(directory: Path, way: Way, split: Split, folder: Path) -> dict[str, Any]:
    """The scores of a fit's held-out patients, and the seconds of the fit."""
    path = folder / "judged.json"
    if not path.is_file():
        run = fitted(directory, way, split, folder)
        (found,) = evaluations(TASK, directory, split.validation, lineups([run]), ("torch", "fp32"))
        made = {"cases": found.scored.rows, "seconds": run.manifest["result"]["seconds"]}
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(made, indent=2))
    return dict(json.loads(path.read_text()))


def fitted(directory: Path, way: Way, split: Split, folder: Path) -> Run:
    """The run that is fitted in this way on this split."""
    run = start_run(NETWORK, directory, folder, OPTIONS, way.settings)
    how = training_of(NETWORK, "train")
    how = how if way.colours else replace(how, colours=None)
    with patch("medseg.train.module.training_of", return_value=how):
        data = DataModule(NETWORK, directory, way.settings, split=split)
        fit(run, data, way.settings, starting_module(NETWORK, OPTIONS, way.settings))
    save_program(run, NETWORK)
    return run


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each recipe, then each patient's Dice by each recipe."""
    lines = [
        "| recipe | patients | mean Dice | 95 % interval | of 0 | seconds a fit |",
        "| --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for name, one in found.items():
        mean = means(one["cases"])["dice"]
        missed = sum(scores["dice"] < MISSED for scores in one["cases"].values())
        seconds = statistics.median(one["seconds"])
        lines.append(
            f"| {name} | {len(one['cases'])} | {mean.mean:.3f} | {mean.low:.3f} to {mean.high:.3f} "
            f"| {missed} | {seconds:.0f} |"
        )
    lines += ["", f"| patient | {' | '.join(found)} |", f"| --- | {' | '.join('---:' for _ in found)} |"]
    for patient in sorted(next(iter(found.values()))["cases"]):
        lines.append(f"| {patient} | {' | '.join(_dice(one['cases'], patient) for one in found.values())} |")
    return "\n".join(lines)


def _dice(cases: Mapping[str, Mapping[str, float]], patient: str) -> str:
    return f"{cases[patient]['dice']:.3f}"


def _options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the fits are kept")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--fold", type=int, action="append", help="only these, numbered from 0: several machines share")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--recipe", action="append", choices=list(WAYS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args(words)
    torch.set_num_threads(asked.threads)
    return asked


if __name__ == "__main__":
    main()
