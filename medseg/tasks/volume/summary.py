"""nnU-Net's summary.json of a data folder's scores, as nnUNetv2_evaluate_folder would write it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.description import Class, Description
from medseg.errors import RunError
from medseg.scoring import Rows
from medseg.tasks.volume.raw import Dataset, dataset_of, entries

COUNTS = ("tp", "fp", "fn", "tn")

Scores = dict[str, float]


def described(description: Description | None) -> Description:
    """The description. Raises RunError where there is none, because then nothing says what the labels mean."""
    if description is None:
        raise RunError("the task 'volume' needs a run that describes its network: give one with --run")
    return description


def summary(description: Description | None, directory: Path, rows: Rows) -> str:
    """The text of summary.json. A class that is in neither the truth nor the answer is NaN, as in nnU-Net's file."""
    dataset, known = dataset_of(directory), entries(directory)
    names = {_key(one, dataset): one.name for one in described(description).classes}
    cases = [
        {
            "metrics": {key: _of_class(row, name) for key, name in names.items()},
            "prediction_file": Path(str(known[case].labels)).name,  # not kept: its name alone
            "reference_file": str(known[case].labels),
        }
        for case, row in rows.items()
    ]
    of = {key: _means([_of_class(row, name) for row in rows.values()]) for key, name in names.items()}
    whole = {name: float(np.mean([mean[name] for mean in of.values()])) for name in next(iter(of.values()))}
    document = {"foreground_mean": whole, "mean": of, "metric_per_case": cases}
    return json.dumps(document, indent=4, sort_keys=True) + "\n"


def _key(one: Class, dataset: Dataset) -> str:
    """What nnU-Net calls a class: its value, or a region's values as Python writes them."""
    if one.value is not None:
        return str(one.value)
    found = dataset.labels.get(one.name, one.region)
    return str(found)


def _of_class(row: Mapping[str, float], name: str) -> Scores:
    tp, fp, fn, tn = (int(row[f"{count}_{name}"]) for count in COUNTS)
    shares = {"Dice": 2 * tp / (2 * tp + fp + fn), "IoU": tp / (tp + fp + fn)} if tp + fp + fn else {}
    empty = {"Dice": float("nan"), "IoU": float("nan")}
    return empty | shares | {"FN": fn, "FP": fp, "TN": tn, "TP": tp, "n_pred": fp + tp, "n_ref": fn + tp}


def _means(found: Sequence[Scores]) -> Scores:
    """Each score's mean over the cases that have it, NaN where none has."""
    values = {name: [one[name] for one in found if not np.isnan(one[name])] for name in found[0]}
    return {name: float(np.mean(known)) if known else float("nan") for name, known in values.items()}
