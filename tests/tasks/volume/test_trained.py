"""A tiny nnU-Net that the real package trains here: imported, exported, asked here and served, and the same mask."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import medseg
from medseg.cli.main import app
from medseg.data.volume import read_volume
from medseg.task import Reading

FEW = 1 / 20_000  # of the voxels, by another engine than torch, where classes lie close together


def differing(found: Path, expected: Path) -> float:
    """The share of voxels that differ."""
    one, other = (read_volume(path, Reading(real=True)).array for path in (found, expected))
    return float((one != other).mean())


def done(*arguments: object) -> None:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output


@pytest.mark.long
def test_a_model_that_nnunet_trained_answers_as_nnunet_does(tmp_path):
    pytest.importorskip("nnunetv2", reason="needs nnunetv2, whose training and answer are compared with")
    command = [sys.executable, "-m", "tests.tasks.volume.tiny_nnunet", str(tmp_path)]
    subprocess.run(command, capture_output=True, check=True)
    (model,) = (tmp_path / "model").iterdir()
    run, case, name = tmp_path / "run", tmp_path / "case", "case_0005.nii.gz"
    done("import", "nnunet", model, "--out", run)
    done("export", run)
    for engine in ("torch", "openvino"):
        out = tmp_path / engine
        done("predict", "volume", case, "--run", run, "--out", out, "--engine", engine)
        assert differing(out / name, tmp_path / "expected" / name) <= (0 if engine == "torch" else FEW)
    with (
        medseg.serve("volume", [run], log=tmp_path / "log") as server,
        medseg.open_predictor("volume", url=server.url) as predictor,
    ):
        served = predictor.answer(case).arrays["mask"]
    expected = read_volume(tmp_path / "expected" / name, Reading(real=True)).array
    assert len(np.unique(expected)) > 1
    assert np.array_equal(served, read_volume(tmp_path / "openvino" / name, Reading(real=True)).array)
