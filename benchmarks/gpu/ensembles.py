"""Tier 7: whole answers by every installed engine, in this process and on the embedded server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import medseg
from benchmarks.gpu.setting import Setting, data_of, run_of
from benchmarks.gpu.sheet import Facts, Sheet
from medseg.bench.lineup import is_held
from medseg.bench.record import TargetRecord
from medseg.engines import kind_of
from medseg.run import Run
from medseg.task import Network
from medseg.tasks import task_named
from tests.bench.runs import bright_run

TASKS = ("luna", "gi-tract", "brain-lgg", "stas")
ENTRIES = (
    medseg.Entry("torch", "fp32", "local"),
    medseg.Entry("tensorrt", "fp16", "local"),
    medseg.Entry("tensorrt", "fp16", "served"),
    medseg.Entry("tensorrt-rtx", "fp16", "local"),
    medseg.Entry("openvino", "fp32", "served"),  # on the CPU, for comparison
)


def run(setting: Setting, sheet: Sheet) -> None:
    """A row for each task and target."""
    for name in ("gi-tract",) if setting.rehearsal else TASKS:
        found: list[TargetRecord] = []
        sheet.item(name, partial(_measured, setting, name, found))
        for target in found:
            sheet.item(f"{name}, {target['name']}", partial(_row, target))


def _measured(setting: Setting, name: str, found: list[TargetRecord]) -> Facts:
    task, data = task_named(name), data_of(setting, name)
    runs = [_held(setting, network) for network in task.networks if network.name not in task.optional]
    record = medseg.bench(name, data, runs, entries=_entries(runs), quick=True)
    found += record["targets"]
    return {"cases": len(record["cases"]), "data": "made up" if setting.work in data.parents else "real"}


def _held(setting: Setting, network: Network) -> Run:
    """The network's run with its exported files, which an earlier tier may have made."""
    folder = setting.work / "bright" / network.name
    if setting.rehearsal:
        return Run(folder) if folder.is_dir() else bright_run(folder, network)
    run = run_of(setting, network)
    if "fp32.onnx" not in run.files:
        medseg.export(run)
    return Run(run.path)


def _entries(runs: Sequence[Run]) -> list[medseg.Entry]:
    """The entries whose package is installed and whose files all runs hold."""
    return [entry for entry in ENTRIES if find_spec(kind_of(entry.engine).package) and is_held(runs, entry)]


def _row(target: TargetRecord) -> Facts:
    """An answer's latency, its scores, and its use of the GPU."""
    if target["problems"]:
        raise RuntimeError("; ".join(target["problems"]))
    summary, usage = target["serial"]["summary"], target["usage"]
    times = {"answers": int(summary["requests"]), "ms": round(1e3 * summary["p50_s"], 1)}
    scores = {name: round(mean["mean"], 4) for name, mean in list(target["accuracy"].items())[:2]}
    gpu = {"peak GPU MiB": usage["peak_gpu_mib"], "watts": usage["mean_gpu_watts"]} if usage else {}
    first = {"first answer, s": round(target["first_s"] or 0, 2)}
    return times | first | scores | gpu
