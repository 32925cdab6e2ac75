"""A fit of several processes, as torchrun or srun starts them on two machines: both are this one here."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.ports import free_port
from medseg.cli.train import train
from medseg.errors import InputError
from medseg.run import Run
from medseg.tasks.picture.phantom import phantom
from medseg.train.history import read_history
from tests.patience import PATIENCE_S
from tests.slurm import slurm

# A loss that is a mean over samples, and DALI's augmentation, which is drawn by a sample's place in the epoch: what
# each process computes is then a part of what one process computes of all. SGD, as Adam's first steps are as long for a
# gradient that is only rounded otherwise.
SAME = {"arch": "unet", "encoder": "tu-resnet10t", "size": "64", "loss": "bce", "loader": "dali"}
SAME |= {"optimizer": "sgd", "lr": 0.05, "epochs": 2, "samples_per_epoch": 16}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    phantom(folder, 8, 0)
    return folder


def flags(**options: object) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def machine(number: int, port: int, *words: object) -> "subprocess.Popen[str]":
    """torchrun on one of two machines, with one process."""
    agent = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={number}", "--max-restarts=0"]
    agent += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    return begun(["-m", "torch.distributed.run", *agent, "-m", "medseg", "train", *map(str, words)], {})


def step(number: int, port: int, *words: object) -> "subprocess.Popen[str]":
    """One of two processes as srun starts them, which tells each its place and the names of the machines."""
    told = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(number), "SLURM_LOCALID": "0"}
    told |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_ID": "7", "MASTER_PORT": str(port)}
    return begun(["-m", "medseg", "train", *map(str, words)], told)


def begun(command: list[str], told: dict[str, str]) -> "subprocess.Popen[str]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | told
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, *command], env=environment, text=True, start_new_session=True, **pipes)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_machines_repeat_the_losses_of_one_process_with_the_same_global_batch(pictures, tmp_path):
    train("picture", pictures, tmp_path / "one", **SAME, batch_size=8)
    words = ["picture", pictures, "--out", tmp_path / "two", *flags(**SAME, batch_size=4, nodes=2)]
    port = free_port()
    both = [machine(number, port, *words) for number in (1, 0)]
    said = [one.communicate(timeout=PATIENCE_S)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    run = Run(tmp_path / "two")
    assert run.problems() == [] and run.manifest["source"]["nodes"] == 2
    for alone, together in zip(read_history(tmp_path / "one"), read_history(run.path), strict=True):
        for name in ("train_loss", "val_loss"):
            assert together[name] == pytest.approx(alone[name], abs=1e-4), name
    both = [machine(number, free, *words) for free in [free_port()] for number in (0, 1)]  # the folder is taken now
    said = [one.communicate(timeout=PATIENCE_S)[0] for one in both]
    assert all("already holds a run" in one and one.count("Traceback") <= 1 for one in said), said  # torchrun's own


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_process_ends_the_fit_with_a_reason_and_resume_goes_on(pictures, tmp_path):
    more = SAME | {"epochs": 200, "loader": "torch"}
    words = ["picture", pictures, "--out", tmp_path / "run", *flags(**more, batch_size=4, nodes=2)]
    port = free_port()
    leader, other = (step(number, port, *words) for number in (0, 1))
    last = tmp_path / "run/checkpoints/last.ckpt"
    while not last.is_file() and leader.poll() is None:
        time.sleep(0.1)
    for one in [*psutil.Process(other.pid).children(recursive=True), other]:  # that machine is gone
        one.kill()
    said = leader.communicate(timeout=PATIENCE_S)[0]
    assert leader.returncode != 0 and "another process of this fit ended" in said, said
    epochs = len(read_history(tmp_path / "run"))
    assert 0 < epochs < 200
    train("picture", pictures, tmp_path / "run", **more | {"epochs": epochs + 1}, batch_size=4, resume=True)
    assert [row["epoch"] for row in read_history(tmp_path / "run")] == list(range(epochs + 1))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_srun_and_ray_train_start_the_processes_of_one_machine(pictures, tmp_path):
    """Both for real; their losses are those of one process."""
    train("picture", pictures, tmp_path / "one", **SAME, batch_size=8)
    words = ["picture", pictures, "--out", tmp_path / "slurm", *flags(**SAME, batch_size=4, devices=2)]
    command = [sys.executable, "-m", "medseg", "train", *map(str, words), "--json"]
    with slurm() as environment:
        refused, said = (
            subprocess.run(
                ["srun", spread, "--chdir", str(Path.cwd()), *command],
                env=environment | {"OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
            )
            for spread in ("--ntasks=2", "--ntasks-per-node=2")
        )
    assert refused.stderr.count("--ntasks-per-node") == 2 and "Traceback" not in refused.stderr, refused.stderr
    assert said.returncode == 0 and said.stdout.count("best_by") == 1, said.stderr
    ray_train = pytest.importorskip("ray.train.torch", reason="needs ray[train]")
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(Path.cwd())}})
    try:
        ray_train.TorchTrainer(
            lambda: train("picture", pictures, tmp_path / "ray", **SAME, batch_size=4, devices=2),
            scaling_config=ray.train.ScalingConfig(num_workers=2),
            run_config=ray.train.RunConfig(storage_path=str(tmp_path / "of ray")),
        ).fit()
    finally:
        ray.shutdown()
    for way in ("slurm", "ray"):
        assert Run(tmp_path / way).problems() == []
        for alone, together in zip(read_history(tmp_path / "one"), read_history(tmp_path / way), strict=True):
            for name in ("train_loss", "val_loss"):
                assert together[name] == pytest.approx(alone[name], abs=1e-4), (way, name)


@pytest.mark.parametrize(
    ("environment", "options", "said"),
    [
        ({}, {"nodes": 2}, r"--nodes is 2, and this process was started alone; .*start 2 of them"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, {"nodes": 3, "devices": 2}, "--nodes is 3"),
        ({"RANK": "0", "WORLD_SIZE": "4"}, {"nodes": 2}, "are 2 processes, but 4 were started"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, {}, "--nodes 1 --devices 1 are 1 processes, but 2 were started"),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, {"nodes": 2}, "--devices is 1, but at least 2 processes"),
    ],
)
def test_another_number_of_processes_than_was_said_is_refused(
    environment, options, said, pictures, tmp_path, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        train("picture", pictures, tmp_path / "run", **SAME, **options)
    assert not (tmp_path / "run").exists()
