"""Tier 4: Triton's steps on GPU tensors, which are passed through DLPack; a race would show in the answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.gpu.setting import Setting, data_of
from benchmarks.gpu.sheet import Facts, Sheet
from benchmarks.gpu.timing import spread
from medseg.data.encoded import encoded_tensor
from medseg.engines.runs import exported_file, opened
from medseg.engines.triton import served_pipeline
from medseg.run import Run
from medseg.task import Network, Task, Tensors
from medseg.tasks import task_named
from medseg.triton_models.config import Served
from medseg.triton_models.names import network_model
from medseg.triton_models.repository import write
from medseg.triton_models.server import serving
from medseg.triton_models.targets import EMBEDDED, Target
from tests.bench.runs import bright_run

LEVELS = {"gi-tract": (0.25,), "brain-lgg": (1.0,), "stas": (0.4, 0.5, 0.6)}  # the networks mark what is brighter
AGAIN = 20
STEPS_ON_GPU = Target("steps on a GPU", EMBEDDED.engines, native=False, device="gpu")


def run(setting: Setting, sheet: Sheet) -> None:
    """A row for each task whose steps take torch's tensors."""
    for name in list(LEVELS)[:1] if setting.rehearsal else LEVELS:
        sheet.item(name, partial(asked, setting, task_named(name)))


def asked(setting: Setting, task: Task) -> Facts:
    """Sends the same question repeatedly: all answers must be equal; counts pixels that differ from numpy's answer."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = [
            bright_run(folder / one.name, one, at) for one, at in zip(task.networks, LEVELS[task.name], strict=True)
        ]
        names = repository(folder / "models", task, runs, setting.device)
        question = _question(task, data_of(setting, task.name))
        with opened(runs, "onnxruntime", "fp32") as networks:
            expected = task.pipeline(question, networks)["mask"]
        with serving(folder / "models", names, setting.out / f"triton-{task.name}.log") as server:
            model = served_pipeline(server.url, task)
            ask = partial(model.ask, question, ("mask",))
            answers = [ask()["mask"] for _ in range(2 if setting.rehearsal else AGAIN)]
            times = spread(ask, setting.seconds, warm=0)
            model.close()
    differ = sum(not np.array_equal(one, answers[0]) for one in answers)
    if differ:
        raise RuntimeError(f"{differ} of {len(answers)} answers to one question differ from the first: a race")
    other = int((answers[0] != expected).sum())
    return {"equal answers": len(answers), "pixels": expected.size, "unlike numpy's": other, **times}


def repository(folder: Path, task: Task, runs: Sequence[Run], device: str) -> list[str]:
    """medseg's models for steps on a GPU, with networks that answer on this device."""
    networks = {run.network: task.network(run.network) for run in runs}
    files = [str(exported_file(run, "onnxruntime", "fp32")) for run in runs]
    served = [Served(one, file, "onnxruntime", 1, 1) for one, file in zip(networks.values(), files, strict=True)]
    names = write(folder, task, served, target=STEPS_ON_GPU)
    for network, level in zip(networks.values(), LEVELS[task.name], strict=True):
        _answer_there(folder / network_model(network.name), network, level, device)
    return names


def _answer_there(model: Path, network: Network, level: float, device: str) -> None:
    """Replace the model that was written by the network that answers on this device."""
    shutil.copyfile(Path(__file__).with_name("on_gpu.py"), model / "1" / "model.py")
    told = {"level": level, "classes": network.output_shape[0], "device": device, "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    lines = [f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in told.items()]
    config = model / "config.pbtxt"
    config.write_text("\n".join([config.read_text(), *lines, ""]))


def _question(task: Task, data: Path) -> Tensors:
    """The inputs for the first case of the data, which ask only for its mask."""
    layout = task.known_data("be asked")
    cases = (case for patient in layout.patients(data) for case in layout.cases(data, patient))
    (first,) = islice(cases, 1)
    return {**first.ask(), "wanted": encoded_tensor([b"mask"])}
