"""`medseg train`: a run with everything a fit leaves, the same whether it was killed on the way or not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medseg.api.evaluation import evaluations, held_out
from medseg.cli.train import train
from medseg.engines import open_engine
from medseg.engines.runs import lineups
from medseg.errors import InputError, RunError
from medseg.models.sized import sized
from medseg.run import Run
from medseg.tasks import network_named, task_named
from medseg.tasks.brain_lgg.phantom import phantom as brain_phantom
from medseg.tasks.luna.phantom import phantom as luna_phantom
from medseg.train.history import read_history
from tests.models.loaded import load_run
from tests.patience import PATIENCE_S

MEDSEG = [sys.executable, "-m", "medseg"]
SMALL = {"features": 2, "size": 32, "batch_size": 8, "lr": 3e-3, "epochs": 4, "patience": 10, "loader": "torch"}
FLAGS = ["--features", "2", "--size", "32", "--batch-size", "8", "--lr", "3e-3", "--epochs", "4", "--patience", "10"]
FLAGS += ["--loader", "torch"]
THREADS = 2  # of fits that are compared digit by digit: with others sums are rounded elsewhere, and engines change them


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    brain_phantom(folder, 4, 0)
    return folder


@pytest.fixture(scope="module")
def fitted(brains, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted") / "run"
    torch.set_num_threads(THREADS)
    train("brain-lgg", brains, out, **SMALL)
    return out


def test_a_fit_leaves_weights_history_curves_logs_and_a_program(fitted):
    run = Run(fitted)
    assert run.problems() == []
    assert {"weights.pt", "last.pt", "fp32.pt2"} <= run.files.keys()
    assert [row["epoch"] for row in read_history(fitted)] == [0, 1, 2, 3]
    assert (fitted / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((fitted / "tensorboard").glob("events*"))
    source, result = run.manifest["source"], run.manifest["result"]
    assert source["recipe"]["lr"] == SMALL["lr"]
    assert not set(source["split"]["train"]) & set(source["split"]["validation"])
    assert result["val_dice"] == max(row["val_dice"] for row in read_history(fitted))


def test_the_program_answers_as_the_weights(fitted):
    images = torch.rand(3, 3, 64, 96)
    module = sized(load_run(network_named("brain-lgg"), Run(fitted)), SMALL["size"], 256)
    with torch.inference_mode():
        expected = module(images)
    engine = open_engine("torch", fitted / "fp32.pt2")
    torch.testing.assert_close(torch.from_numpy(engine(images.numpy())), expected, rtol=1e-4, atol=1e-4)


def test_a_run_of_another_size_scores_as_it_did_when_it_was_fitted(brains, tmp_path):
    """Its pictures are resized in the file that engines open, so the pipeline's 256 x 256 ones come right."""
    how = {"features": 4, "size": 64, "batch_size": 4, "lr": 3e-3, "epochs": 9, "loss": "bce-tversky"}
    train("brain-lgg", brains, tmp_path / "run", **how, loader="torch")
    run, task = Run(tmp_path / "run"), task_named("brain-lgg")
    held = held_out(task, brains, [run])
    (found,) = evaluations(task, brains, held, lineups([run]), ("torch", "fp32"))
    fitted = run.manifest["result"]["val_dice"]
    assert fitted > 0.8, "it has learnt, so that a score at a wrong size would show"
    # the evaluation's grid is four times as fine, and keeps the largest piece alone
    assert found.scored.means["dice"].mean == pytest.approx(fitted, abs=0.06)


@pytest.mark.parametrize(("network", "size"), [("luna-segment", 64), ("brain-lgg", 100), ("gi-tract", 0)])
def test_a_size_that_a_network_cannot_take_is_refused(network, size, tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.cli.train.filled", lambda *_: None)  # as if there were patients
    with pytest.raises(InputError, match=f"--size is {size}; (expected a multiple of 32|luna-segment takes images at)"):
        train(network, tmp_path, tmp_path / "run", size=size)


@pytest.mark.slow
def test_a_killed_fit_goes_on_as_if_it_had_not_been_interrupted(brains, fitted, tmp_path):
    out = tmp_path / "run"
    command = [*MEDSEG, "train", "brain-lgg", str(brains), "--out", str(out), *FLAGS]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": str(THREADS)}
    process = subprocess.Popen(command, env=environment)
    while len(read_history(out)) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "result" not in Run(out).manifest, "the fit ended before it could be killed"
    torch.set_num_threads(THREADS)
    train("brain-lgg", brains, out, **SMALL, resume=True)
    for ours, theirs in zip(read_history(out), read_history(fitted), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=5e-5)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], abs=5e-5)
        assert ours["val_dice"] == pytest.approx(theirs["val_dice"], abs=1e-3), "more than pixels at the threshold"


def test_a_fit_keeps_its_last_epoch_where_it_is_asked_to(brains, tmp_path):
    """Weights that no score chose: what they score on the patients who validate is what they score on new ones."""
    wild = {**SMALL, "patience": None, "lr": 0.05, "epochs": 3, "samples_per_epoch": 16}
    train("brain-lgg", brains, tmp_path / "run", **wild, keep="last")
    run = Run(tmp_path / "run")
    last = read_history(run.path)[-1]
    assert {name: run.manifest["result"][name] for name in ("epoch", "val_dice")} == {
        "epoch": 2,
        "val_dice": last["val_dice"],
    }
    kept, plain = (torch.load(run.path / name, weights_only=True) for name in ("weights.pt", "last.pt"))
    assert all(torch.equal(kept[name], plain[name]) for name in plain)
    assert run.manifest["source"]["keep"] == "last"


@pytest.mark.parametrize(
    ("keep", "message"), [("first", "expected one of best, last"), ("last", "leave one of them out")]
)
def test_an_epoch_that_cannot_be_kept_is_refused(brains, tmp_path, keep, message):
    with pytest.raises(InputError, match=f"--keep {'is ' if keep == 'first' else ''}'?{keep}.*{message}"):
        train("brain-lgg", brains, tmp_path / "run", **SMALL, keep=keep)


def test_a_finished_fit_takes_more_epochs_but_nothing_else(brains, fitted, tmp_path):
    with pytest.raises(RunError, match=r"was started with lr 0\.003, not 0\.1"):
        train("brain-lgg", brains, fitted, **{**SMALL, "lr": 0.1}, resume=True)
    with pytest.raises(RunError, match="already holds a run"):
        train("brain-lgg", brains, fitted, **SMALL)


def test_a_fit_without_progress_stops_after_its_patience_and_steps_once_for_several_batches(brains, tmp_path):
    still = {**SMALL, "lr": 1e-12, "epochs": 6, "patience": 1, "accumulate": 3, "samples_per_epoch": 32}
    train("brain-lgg", brains, tmp_path / "run", **still)
    assert len(read_history(tmp_path / "run")) == 2
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1, "the last epoch is what a fit goes on from, better or not"
    assert last["global_step"] == 2 * 2, "4 batches an epoch are a step for 3 and a step for the one that is left"


@pytest.mark.slow
def test_two_processes_fit_one_run_and_wandb_logs_offline(brains, tmp_path):
    command = [*MEDSEG, "train", "brain-lgg", brains, "--out", tmp_path / "run", *FLAGS[:-6], "--epochs", "2"]
    command += ["--loader", "dali", "--devices", "2", "--wandb", "offline"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, check=True, timeout=PATIENCE_S)
    run = Run(tmp_path / "run")
    assert run.problems() == [] and "val_dice" in run.manifest["result"]
    assert [row["epoch"] for row in read_history(run.path)] == [0, 1]
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))


def test_malignancy_starts_from_the_nodule_network(tmp_path):
    luna_phantom(tmp_path / "luna", 2, 0)
    train("luna-nodule", tmp_path / "luna", tmp_path / "nodule", epochs=1, features=2, samples_per_epoch=8)
    start = tmp_path / "nodule"
    train("luna-malignancy", tmp_path / "luna", tmp_path / "head", epochs=1, features=2, start=start, trainable="head")
    nodule, head = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("nodule", "head"))
    assert torch.equal(nodule["block3.conv1.weight"], head["block3.conv1.weight"])
    assert not torch.equal(nodule["head_linear.weight"], head["head_linear.weight"])


def test_data_that_is_not_there_leaves_no_run(tmp_path):
    with pytest.raises(InputError):
        train("brain-lgg", tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()
