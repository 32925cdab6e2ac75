"""A model of nnU-Net v2 as a run: its description and its traced program, checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from json import dumps
from pathlib import Path

from torch import nn

from medseg.bringing import Brought, NetworkOptions
from medseg.errors import InputError
from medseg.files import sha256
from medseg.scratch import Scratch
from medseg.tasks.volume.nnunet.describe import configuration, document, heads, inputs
from medseg.tasks.volume.nnunet.model import Model, found
from medseg.tasks.volume.nnunet.network import Fold, Folds, architecture, built, read_fold
from medseg.tasks.volume.plan import described_plan
from medseg.tasks.volume.program import refuse_others, save

_CHECKPOINT = "checkpoint_final.pth"


def imported(path: Path, choices: NetworkOptions) -> Brought:
    """The content of a model folder or zip.

    Raises InputError, which names what cannot be done exactly as in nnU-Net.
    """
    refuse_others(choices, "a model of nnU-Net", "configuration", "folds", "checkpoint")
    folds = choices.folds.split(",") if choices.folds else None
    model = found(path, choices.configuration, folds, choices.checkpoint or _CHECKPOINT)
    kept = {name: read_fold(file) for name, file in model.checkpoints.items()}
    first = next(iter(kept.values()))
    described = document(model, first.mirrors, _source(model))
    _, plan = described_plan(described, str(path))
    module = _module(model, kept, inputs(described), heads(described))
    scratch = Scratch("import")
    program = Path(scratch.name) / "given.pt2"
    save(module, (inputs(described), *plan.window.patch), program)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    source = {"kind": "program", "file": path.name, "folds": list(model.checkpoints), "parameters": parameters}
    return Brought(
        dumps(described, indent=2) + "\n",
        program=program,
        source=source | {"trainer": first.trainer, "configuration": model.configuration},
        notes=tuple(_notes(model, kept)),
        kept=scratch,
    )


def _module(model: Model, folds: dict[str, Fold], channels: int, classes: int) -> nn.Module:
    known = architecture(configuration(model.plans, model.configuration))
    modules = [built(known, channels, classes, folds[name], file) for name, file in model.checkpoints.items()]
    return modules[0] if len(modules) == 1 else Folds(modules)


def _source(model: Model) -> dict[str, object]:
    files = {f"fold_{name}/{file.name}": sha256(file) for name, file in model.checkpoints.items()}
    files |= {name: sha256(model.folder / name) for name in ("plans.json", "dataset.json")}
    told = {key: str(model.dataset[key]) for key in ("license", "licence", "reference") if model.dataset.get(key)}
    terms = {"license": told.get("license") or told.get("licence", ""), "citation": told.get("reference", "")}
    source: dict[str, object] = {"project": "nnU-Net v2", "version": _version(), "files": files}
    return source | {name: value for name, value in terms.items() if value}


def _version() -> str:
    """The version of the package that built the network."""
    try:
        return f"dynamic-network-architectures {version('dynamic-network-architectures')}"
    except PackageNotFoundError:
        return "unknown"


def _notes(model: Model, folds: dict[str, Fold]) -> Sequence[str]:
    mirrors = {fold.mirrors for fold in folds.values()}
    notes = []
    if len(mirrors) > 1:
        raise InputError(
            f"{model.folder}: its folds were trained with different mirroring; expected the same: choose --folds"
        )
    if len(folds) == 1 and "all" not in folds:
        notes.append(f"one fold of the model was used ({next(iter(folds))}); nnUNetv2_predict uses five by default")
    return notes
