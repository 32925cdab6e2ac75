"""The names of a repository's models: the ensemble has the name of its task."""

from __future__ import annotations

from pathlib import Path

from medseg.description import DESCRIPTION


def step_model(task: str, step: str) -> str:
    """The model of one step of a task's pipeline."""
    return f"{task}-{step}-step"


def network_model(network: str) -> str:
    """The model of a network; some networks have the same name as their task, hence the suffix."""
    return f"{network}-network"


def descriptions(folder: Path) -> list[str]:
    """The texts of the descriptions in the folder of a model.py."""
    stem, suffix = DESCRIPTION.split(".")
    count = len(list(folder.glob(f"{stem}*.{suffix}")))
    return [(folder / name).read_text() for name in description_names(count)]


def description_names(count: int) -> list[str]:
    """The files beside a model.py that say what networks runs brought along: segmentation.json, segmentation-2.json."""
    stem, suffix = DESCRIPTION.split(".")
    return [DESCRIPTION if number == 1 else f"{stem}-{number}.{suffix}" for number in range(1, count + 1)]
