"""Tier 3: the same fits in FP32 and in mixed precision, as `medseg train` makes them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial

import torch

import medseg
from benchmarks.gpu.setting import SMALL, Setting, data_of
from benchmarks.gpu.sheet import Facts, Sheet
from medseg.tasks import network_named, task_of
from medseg.train.history import read_history


@dataclass(frozen=True)
class Fitted:
    """A fit: a network, the samples per batch, and the batches per epoch."""

    network: str
    batch: int
    batches: int


FITS = (
    Fitted("gi-tract", 64, 4),
    Fitted("brain-lgg", 16, 16),
    Fitted("luna-segment", 16, 8),
    Fitted("luna-nodule", 32, 16),
    Fitted("stas-efficientnetv2-m", 8, 6),
)
SMALLEST = (Fitted("brain-lgg", 2, 1),)


def run(setting: Setting, sheet: Sheet) -> None:
    """Each fit in both precisions; the CPU uses bf16 instead of FP16."""
    mixed = "bf16-mixed" if setting.rehearsal else "16-mixed"
    for one in SMALLEST if setting.rehearsal else FITS:
        for precision in ("32-true", mixed):
            sheet.item(f"{one.network}, {precision}", partial(fitted, setting, one, precision))


def fitted(setting: Setting, one: Fitted, precision: str) -> Facts:
    """Loss and score after the last epoch, its seconds, and the fit's memory."""
    out = setting.work / "fits" / f"{one.network}-{precision}"
    shutil.rmtree(out, ignore_errors=True)
    data = data_of(setting, task_of(network_named(one.network)), to_fit=True)
    samples = one.batch * one.batches
    recipe = {"epochs": 1 if setting.rehearsal else 3, "batch_size": one.batch, "precision": precision}
    features = SMALL[one.network]["features"] if setting.rehearsal else None
    size = medseg.NetworkOptions(size="64" if setting.rehearsal else None)
    chosen = medseg.TrainOptions(recipe, {"samples_per_epoch": samples}, size, features)
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    fit = medseg.train(one.network, data, out, chosen)
    last = read_history(fit.path)[-1]
    score = str(fit.manifest["result"]["best_by"])
    found = {"loss": round(last["train_loss"], 4), score: round(last[score], 4)}
    seconds = {"last epoch, s": round(last["seconds"], 2), "samples/s": round(samples / last["seconds"], 1)}
    peak = round(torch.cuda.max_memory_allocated() / 2**20) if setting.device == "cuda" else None
    loader = fit.manifest["source"].get("loader", "torch")
    return found | seconds | {"batch": one.batch, "loader": loader, "peak MiB": peak}
