"""Tier 5: TensorRT's engines: built, read back, judged by their masks, and timed from batch 1 to 32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.gpu.precisions import networks, samples
from benchmarks.gpu.setting import Setting, run_of
from benchmarks.gpu.sheet import Facts, Sheet, ShortError
from medseg.engines import ENGINES, open_engine
from medseg.engines.gpu import gpu_name
from medseg.export.chain import export
from medseg.export.options import ExportOptions
from medseg.export.parity import compare
from medseg.run import Run
from medseg.task import Array, Network
from medseg.tasks import task_of

ROOT = Path(__file__).parents[2]
SIZES = {1: (1, 4, 16, 32), 3: (1, 2, 4, 8, 16, 32)}  # batch sizes, by the number of an answer's axes
LARGEST = {"stas": 4}  # 800 x 800, three networks of 40 to 60 million parameters


@dataclass(frozen=True)
class Library:
    """An installed TensorRT: its engine in medseg, and the Python that has it."""

    engine: str
    python: Path
    gpu: str  # the GPU it builds for


def run(setting: Setting, sheet: Sheet) -> None:
    """An engine of each precision for each library and network, and its times for each batch size."""
    found = libraries(setting)
    if not found:
        raise RuntimeError("no TensorRT here; expected tensorrt, tensorrt_rtx or --python8: see docs/gpu.md")
    for network in networks(setting):
        if not sheet.item(f"{network.name}, ONNX", partial(exported, setting, network)):
            continue
        for one in found:
            for precision in ("fp16",) if setting.rehearsal else ("fp32", "fp16"):
                _tried(setting, sheet, one, network, precision)


def libraries(setting: Setting) -> list[Library]:
    """Every TensorRT that can be tried; TensorRT-RTX is skipped on GPUs that it does not support."""
    here, this = gpu_name(), Path(sys.executable)
    found = [Library("tensorrt", setting.python8, "")] if setting.python8 else []
    if find_spec("tensorrt") and not setting.rehearsal:
        found.append(Library("tensorrt", this, ""))
    rtx = ENGINES["tensorrt-rtx"].gpus
    if find_spec("tensorrt_rtx") and (setting.rehearsal or here in rtx):
        found.append(Library("tensorrt-rtx", this, "sm80" if setting.rehearsal else here))
    return found


def exported(setting: Setting, network: Network) -> Facts:
    """Exports the run's FP32 and FP16 ONNX files; each is judged before it is recorded."""
    run = run_of(setting, network)
    failed = export(run, network, ExportOptions(fp16=True, samples=1 if setting.rehearsal else 4), print)
    if failed:
        raise RuntimeError("; ".join(failed.values()))
    files = Run(run.path).files
    return {name: files[name].get("parity", {}).get("dice") for name in ("fp32.onnx", "fp16.onnx")}


def _tried(setting: Setting, sheet: Sheet, one: Library, network: Network, precision: str) -> None:
    """An item for the engine, and one for each batch size."""
    what, batches = f"{network.name}, {one.engine} {precision}", list[Facts]()
    sheet.item(what, partial(built, setting, one, network, precision, batches))
    for times in batches:
        sheet.item(f"{what}, batch {times['batch']}", partial(_rate, times))


def _rate(times: Facts) -> Facts:
    return {**times, "inputs/s": round(1e3 * float(times["batch"] or 0) / float(times["ms"] or 1), 1)}


def built(setting: Setting, one: Library, network: Network, precision: str, batches: list[Facts]) -> Facts:
    """The facts about an engine: size, share in FP16, and Dice against fp32.onnx in ONNX Runtime."""
    folder = setting.work / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    asked = np.concatenate(samples(setting, network))
    np.save(folder / "asked.npy", asked)
    job, answers = _job(setting, one, network, precision), folder / "answers.npy"
    answers.unlink(missing_ok=True)
    (folder / "job.json").write_text(json.dumps(job))
    done = _in_its_python(one.python, folder / "job.json")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    facts = {name: value for line in lines if "batch" not in line for name, value in line.items()}
    batches += [line for line in lines if "batch" in line]
    if answers.is_file():
        parity = compare(network, *_each(_yardstick(run_of(setting, network), asked), np.load(answers)))
        facts |= {"Dice": round(parity.dice, 6), "largest error": round(parity.probability_error, 6)}
    if setting.rehearsal and "no NVIDIA GPU" in done.stderr:
        raise ShortError(f"built for {one.gpu}; opening it needs a GPU", facts)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise RuntimeError(f"{one.engine} {precision} ended: {words} (found until then: {facts})")
    return facts


def _in_its_python(python: Path, job: Path) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "benchmarks.gpu.plan_here", str(job)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | _paths(), timeout=200)
    print(done.stdout, done.stderr)
    return done


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))}


def _job(setting: Setting, one: Library, network: Network, precision: str) -> dict[str, object]:
    """The job for plan_here."""
    sizes = SIZES[len(network.output_shape)]
    most = LARGEST.get(task_of(network), max(sizes))
    chosen = [1] if setting.rehearsal else [size for size in sizes if size <= most]
    facts = {"network": network.name, "free_axes": network.free_axes}
    shapes = {"input_shape": network.input_shape, "output_shape": network.output_shape}
    library = {"engine": one.engine, "gpu": one.gpu, "precision": precision}
    batches = {"batches": (1, min(4, most), most), "sizes": chosen, "seconds": setting.seconds}
    files = {name: str(setting.work / "plans" / f"{name}.npy") for name in ("asked", "answers")}
    return facts | shapes | library | batches | files | {"run": str(run_of(setting, network).path)}


def _yardstick(run: Run, asked: Array) -> Array:
    engine = open_engine("onnxruntime", run.path / "fp32.onnx")
    answers = np.concatenate([engine(one[np.newaxis]) for one in asked])
    engine.close()
    return answers


def _each(*several: Array) -> Sequence[list[Array]]:
    """Batches as lists of samples."""
    return [[one[np.newaxis] for one in batch] for batch in several]
