"""bfloat16: a file that OpenVINO alone computes in it, judged doing so, on a CPU that has it."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino")

from medseg.engines import open_engine
from medseg.engines import openvino as engine
from medseg.engines.runs import exported_file
from medseg.errors import EngineError, InputError, RunError
from medseg.export.chain import export
from medseg.export.options import ExportOptions
from medseg.run import Run
from medseg.task import Task
from medseg.tasks import task_named
from medseg.triton_models.repository import served
from medseg.triton_models.targets import TARGETS
from tests.bench.runs import bright_run
from tests.export.made import Hostile, network, run_of

needs_bf16 = pytest.mark.skipif(not engine.computes_bf16(), reason="this CPU has no bfloat16")
SHARES = (0.0, 1.0)


class Smooth(nn.Module):
    """A mask of where a smoothed picture is bright."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 5, padding=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 30 * self.layers(x)


@pytest.fixture
def run(tmp_path) -> Run:
    return run_of(Smooth(), tmp_path / "run")


@needs_bf16
def test_openvino_computes_the_file_in_bfloat16_and_is_judged_so(run):
    assert not export(run, network(Smooth, low_high=SHARES), ExportOptions(samples=4, bf16=True), lambda _: None)
    facts = run.files["bf16.onnx"]
    assert facts["engine"] == "openvino" and facts["parity"]["dice"] >= 0.995
    picture = np.random.default_rng(0).random((1, 1, 96, 96), np.float32)
    full, brain = (open_engine("openvino", run.path / f"{name}.onnx")(picture) for name in ("fp32", "bf16"))
    apart = np.abs(full - brain).max() / np.abs(full).max()
    assert 2**-12 < apart < 2**-5, "as far apart as 8 bits of mantissa are, not as 24"


@needs_bf16
def test_other_engines_do_not_take_it_for_theirs(run):
    export(run, network(Smooth, low_high=SHARES), ExportOptions(samples=1, bf16=True), lambda _: None)
    assert exported_file(run, "openvino", "bf16").name == "bf16.onnx"
    with pytest.raises(RunError, match=r"has no bf16 \.onnx file for onnxruntime"):
        exported_file(run, "onnxruntime", "bf16")


@needs_bf16
def test_a_network_that_loses_its_masks_is_refused(tmp_path):
    run = run_of(Hostile(), tmp_path / "run")
    failed = export(run, network(Hostile), ExportOptions(samples=2, bf16=True, dice=0.99999), lambda _: None)
    assert "bf16.onnx of made is not recorded" in failed["bf16.onnx"]
    assert "bf16.onnx" not in run.files and not (run.path / "bf16.onnx").exists()


def test_a_cpu_without_it_is_told_so(run, monkeypatch):
    monkeypatch.setattr(engine, "computes_bf16", lambda: False)
    failed = export(run, network(Smooth, low_high=SHARES), ExportOptions(samples=1, bf16=True), lambda _: None)
    assert "this CPU does not have it" in failed["bf16.onnx"]
    assert "bf16.onnx" not in run.files
    open_engine("openvino", run.path / "fp32.onnx").close()
    with pytest.raises(EngineError, match="cannot open"):
        open_engine("openvino", run.path / "none.onnx")


def test_tritons_own_backends_are_not_given_it(tmp_path):
    task: Task = task_named("gi-tract")
    with pytest.raises(InputError, match="target 'cpu' has no bf16"):
        served(task, [bright_run(tmp_path / "run", task.networks[0])], "openvino", "bf16", TARGETS["cpu"])
