"""A model that nnU-Net v2 trained: its folder with plans, dataset and checkpoints, or an exported zip of it."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.archive import unpacked
from medseg.errors import InputError
from medseg.schema import read_json

_NEEDED = ("plans.json", "dataset.json")
_FOLD = re.compile(r"fold_(\d+|all)")
_LAYOUT = "a folder TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json and fold_0, or an exported zip"


@dataclass(frozen=True)
class Model:
    """One configuration's files, and what its plans and its data set say."""

    folder: Path
    configuration: str
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    checkpoints: Mapping[str, Path]  # by fold
    kept: tempfile.TemporaryDirectory[str] | None = None  # that a zip was unpacked into


def found(path: Path, configuration: str | None, folds: Sequence[str] | None, checkpoint: str) -> Model:
    """The model in a folder or a zip. Raises InputError where it is none, or not the one that is meant."""
    if not path.exists():
        raise InputError(f"{path} does not exist; expected {_LAYOUT}")
    kept = None
    where = path
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path} is a file but not a zip; expected {_LAYOUT}")
        kept = unpacked(path)
        where = Path(kept.name)
    folder = _chosen(_folders(where), path, configuration)
    plans, dataset = (_document(folder / name) for name in _NEEDED)
    name = _configuration(folder, plans, configuration)
    return Model(folder, name, plans, dataset, _checkpoints(folder, folds, checkpoint), kept)


def _folders(where: Path) -> list[Path]:
    """The model folders in a path: itself, or those below it."""
    if all((where / name).is_file() for name in _NEEDED):
        return [where]
    plans = sorted(where.rglob("plans.json"), key=lambda one: (len(one.parts), one))
    return [one.parent for one in plans if (one.parent / "dataset.json").is_file() and _has_folds(one.parent)]


def _has_folds(folder: Path) -> bool:
    return any(_FOLD.fullmatch(one.name) for one in folder.iterdir())


def _chosen(folders: Sequence[Path], path: Path, configuration: str | None) -> Path:
    """The folder of the configuration that is asked for, or the only one."""
    if not folders:
        raise InputError(f"{path} holds no model of nnU-Net v2; expected {_LAYOUT}")
    fits = [one for one in folders if configuration is None or _named(one) in (configuration, "")]
    names = ", ".join(sorted({_named(one) or one.name for one in folders}))
    if not fits:
        raise InputError(f"{path} has no configuration {configuration!r}; it has {names}: name one of them")
    if len(fits) > 1:
        several = sorted({_named(one) for one in fits})
        if len(several) == 1:
            found = ", ".join(one.name for one in fits)
            raise InputError(f"{path} holds several models of {several[0]} ({found}); expected one: name its folder")
        raise InputError(f"{path} holds several configurations ({names}); expected one: choose it with --configuration")
    return fits[0]


def _named(folder: Path) -> str:
    """The configuration in a model folder's name, "" where it has none."""
    parts = folder.resolve().name.split("__")
    return parts[2] if len(parts) == 3 else ""


def _configuration(folder: Path, plans: Mapping[str, Any], asked: str | None) -> str:
    known = plans.get("configurations")
    if not isinstance(known, dict) or not known:
        raise InputError(f"{folder / 'plans.json'} has no configurations; expected nnU-Net v2's plans: copy them again")
    name = asked or _named(folder) or (next(iter(known)) if len(known) == 1 else "")
    if not name:
        raise InputError(
            f"{folder} does not say which configuration it holds ({', '.join(known)}): choose it with --configuration"
        )
    if name not in known:
        raise InputError(f"{folder / 'plans.json'} has no configuration {name!r}; it has {', '.join(known)}")
    return name


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = read_json(path)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not valid JSON ({reason}); expected nnU-Net's: copy it again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a JSON object; expected nnU-Net's: copy it again")
    return document


def _checkpoints(folder: Path, folds: Sequence[str] | None, checkpoint: str) -> dict[str, Path]:
    """The checkpoint of each fold, in order. Raises InputError naming the fold or file that is not there."""
    if Path(checkpoint).name != checkpoint:
        raise InputError(f"--checkpoint is {checkpoint!r}; expected a file's name in each fold, checkpoint_final.pth")
    there = sorted(
        (match[1] for one in folder.iterdir() if (match := _FOLD.fullmatch(one.name)) and one.is_dir()),
        key=lambda name: (not name.isdigit(), name.zfill(8)),
    )
    if not there:
        raise InputError(f"{folder} has no folds; expected fold_0 or fold_all in it: copy the whole model")
    chosen = list(dict.fromkeys(folds)) if folds else [name for name in there if name != "all"] or there
    for name in chosen:
        if name not in there:
            raise InputError(f"{folder} has no fold {name}; it has {', '.join(there)}: choose others with --folds")
    paths = {name: folder / f"fold_{name}" / checkpoint for name in chosen}
    for path in paths.values():
        if not path.is_file():
            others = ", ".join(sorted(one.name for one in path.parent.glob("*.pth"))) or "no .pth file"
            raise InputError(f"{path} does not exist; the fold has {others}: choose one with --checkpoint")
    return paths
