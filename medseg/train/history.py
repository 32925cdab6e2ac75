"""The history of a fit: history.csv, a row an epoch, and curves.png, a picture of it."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from medseg.files import whole_file

HISTORY = "history.csv"
CURVES = "curves.png"
LABELS = {
    "train_loss": "training",
    "val_loss": "validation",
    "val_loss_pos": "validation, positives",
    "val_loss_neg": "validation, negatives",
}


class History(pl.Callback):
    """Writes a row after each epoch; a resumed fit drops the rows of epochs that it repeats."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Note the time and the learning rate, which the schedule moves on before the epoch ends."""
        self.started = time.perf_counter()
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Add the epoch's row."""
        if not trainer.is_global_zero:
            return
        rows = [row for row in read_history(self.folder) if row["epoch"] < trainer.current_epoch]
        write_history(self.folder, [*rows, self._row(trainer)])

    def _row(self, trainer: pl.Trainer) -> dict[str, float]:
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        gpu = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        facts = {"lr": self.lr, "seconds": time.perf_counter() - self.started}
        return {"epoch": trainer.current_epoch, **metrics, **facts, "gpu_gib": gpu}


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv by epoch; empty where there is none yet."""
    if not (folder / HISTORY).is_file():
        return []
    with (folder / HISTORY).open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_history(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write history.csv whole."""
    with whole_file(folder / HISTORY) as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]))
        writer.writeheader()
        writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in rows)


def draw_curves(folder: Path) -> None:
    """Draw the run's history: the losses on the left, the validation scores on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_history(folder)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    scores = [name for name in rows[-1] if name.startswith("val_") and name not in LABELS]
    _draw(left, rows, [name for name in LABELS if name in rows[-1]], "loss")
    _draw(right, rows, scores, "validation score")
    right.set_ylim(-0.02, 1.02)
    with whole_file(folder / CURVES) as path:
        FigureCanvasAgg(figure).print_png(str(path))


def _draw(axes: Any, rows: list[dict[str, float]], names: list[str], title: str) -> None:
    for name in names:
        points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), marker=".", label=LABELS.get(name, name.removeprefix("val_")))
    axes.set(xlabel="epoch", title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
