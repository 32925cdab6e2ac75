"""Tier 6: DALI on the GPU: its decoding compared with the plain function, and a training step with and without it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.gpu.setting import Setting, data_of, options_of
from benchmarks.gpu.sheet import Facts, Sheet
from benchmarks.gpu.timing import spread
from benchmarks.train_step import MEASURES, Family, ours, prepared, rate
from medseg.dali_pipelines.decode import Decoder
from medseg.engines.runs import found_in
from medseg.task import Network, Task, Tensors, run_step
from medseg.tasks import network_named, task_named, task_names, task_of

STEPS = {
    "gi-tract": Family(64, 20),
    "brain-lgg": Family(16, 30),
    "stas-efficientnetv2-m": Family(8, 12),
}
SMALLEST = {"brain-lgg": Family(2, 2, size=64)}


def run(setting: Setting, sheet: Sheet) -> None:
    """A row for each task that decodes, then one for each network and loader."""
    for name in task_names():
        for step in task_named(name).decoding:
            sheet.item(f"{name}, {step}", partial(decoded, setting, task_named(name), step))
    for network, family in (SMALLEST if setting.rehearsal else STEPS).items():
        for loader in ("torch", "dali"):
            sheet.item(
                f"{network}, --loader {loader}", partial(stepped, setting, network_named(network), family, loader)
            )


def decoded(setting: Setting, task: Task, step: str) -> Facts:
    """The differences between DALI's pixels and the plain function's, and the time of both."""
    tensors, how = _until(task, step, data_of(setting, task.name)), task.decoding[step]
    decode = Decoder(how, "cpu" if setting.rehearsal else "gpu")
    plain = next(one for one in task.pipeline.steps if one.name == step)
    expected = run_step(plain, tensors, found_in({}))[how.output].astype(np.float64)
    apart = np.abs(decode(tensors)[how.output] - expected)
    times = spread(partial(decode, tensors), setting.seconds)
    slow = spread(partial(run_step, plain, tensors, found_in({})), setting.seconds)
    over = round(float((apart > 1e-4).mean()), 6)
    found = {"pictures": len(tensors["packed"]), "largest difference": float(apart.max()), "mean": float(apart.mean())}
    found["share over 1e-4"] = over
    return found | {"DALI, ms": times["ms"], "plain, ms": slow["ms"]}


def _until(task: Task, step: str, data: Path) -> Tensors:
    """The tensors that the earlier steps make from the first case."""
    layout = task.known_data("be decoded")
    tensors = dict(layout.cases(data, layout.patients(data)[0])[0].ask())
    for before in task.pipeline.steps:
        if before.name == step:
            break
        tensors |= run_step(before, tensors, found_in({}))
    return tensors


def stepped(setting: Setting, network: Network, family: Family, loader: str) -> Facts:
    """Samples per second of the loader alone, of a step on one repeated batch, and of both together."""
    data = data_of(setting, task_of(network), to_fit=True)
    small = replace(network, options=options_of(setting, network))
    where = ("cpu", "32-true") if setting.rehearsal else ("gpu", "16-mixed")
    rates = {one: rate(ours(prepared(small, data, family, loader, workers=None), one, *where)) for one in MEASURES}
    said = {f"{measure}, samples/s": round(value, 1) for measure, value in rates.items()}
    return said | {"loop slower than step": f"{rates['step'] / rates['loop'] - 1:.1%}", "batch": family.batch_size}
