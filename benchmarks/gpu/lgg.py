"""Tier 8: a real fit of brain-lgg to all patients that are here, scored on the patients it was not trained on."""

from __future__ import annotations

import shutil

import medseg
from benchmarks.gpu.setting import SMALL, Setting, data_of
from benchmarks.gpu.sheet import Facts, Sheet
from medseg.train.history import read_history

EPOCHS = 40


def run(setting: Setting, sheet: Sheet) -> None:
    """The fit, then the score of whole volumes."""
    out = setting.work / "lgg"
    shutil.rmtree(out, ignore_errors=True)
    if sheet.item("fit", lambda: fitted(setting)):
        sheet.item("whole volumes", lambda: judged(setting))


def fitted(setting: Setting) -> Facts:
    """A fit with the network's own recipe, except the number of epochs. The last epoch is kept, not the best."""
    data = data_of(setting, "brain-lgg", to_fit=True)
    recipe: dict[str, float | str | None] = {"epochs": EPOCHS, "lr": 4e-4, "precision": "16-mixed"}
    small: dict[str, float | str | None] = {"epochs": 1, "batch_size": 2}
    settings: dict[str, int | str | None] = {"keep": "last", **({"samples_per_epoch": 2} if setting.rehearsal else {})}
    size = medseg.NetworkOptions(size="64") if setting.rehearsal else medseg.NetworkOptions()
    features = SMALL["brain-lgg"]["features"] if setting.rehearsal else None
    chosen = medseg.TrainOptions(small if setting.rehearsal else recipe, settings, size, features)
    run = medseg.train("brain-lgg", data, setting.work / "lgg", chosen)
    rows, split = read_history(run.path), run.manifest["source"]["split"]
    patients = {"patients learnt from": len(split["train"]), "patients judged on": len(split["validation"])}
    scores = {"val_dice": round(rows[-1]["val_dice"], 4), "loss": round(rows[-1]["train_loss"], 4)}
    return patients | {"epochs": len(rows), "seconds": round(sum(row["seconds"] for row in rows), 1)} | scores


def judged(setting: Setting) -> Facts:
    """The scores of `medseg evaluate` on the patients that the fit was not trained on."""
    data = data_of(setting, "brain-lgg", to_fit=True)
    found = medseg.evaluate("brain-lgg", data, [setting.work / "lgg"], ("torch", "fp32"))
    (scored,) = found.scores.values()
    return {name: round(mean.mean, 4) for name, mean in scored.means.items()}
