"""What NVIDIA's image starts: a tritonserver by its own options, whose processes are replaced, ended when it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("onnxruntime")
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from benchmarks.ports import free_port
from medseg.api.serve import Repository, write_repository
from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import served_pipeline
from medseg.errors import InputError
from medseg.tasks import task_named
from medseg.triton_models import starting, supervise
from medseg.triton_models.server import Ports
from medseg.triton_models.stubs import stubs_of
from medseg.triton_models.wheel import backends, environment, wheel
from tests.bench.runs import bright_run
from tests.dali_pipelines.damage import grey16

TASK = task_named("gi-tract")
LOCAL = "--http-address=127.0.0.1"


@dataclass
class Started:
    """The program, and what it said so far."""

    process: psutil.Popen
    ports: Ports
    log: Path

    def told(self, words: str) -> bool:
        return words in self.log.read_text()

    def until(self, words: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.told(words):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def stub(self, model: str) -> psutil.Process:
        (one,) = [one for one in self.process.children(recursive=True) if f"/{model}/" in " ".join(one.cmdline())]
        return one


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("supervised")
    run = bright_run(folder / "run", TASK.networks[0], 0.25)
    write_repository(folder / "models", TASK, [run], Repository(engine="onnxruntime", decoder="reference", instances=1))
    return folder / "models"


def _words(repository: Path, scratch: Path, ports: Ports) -> list[str]:
    """What starts the installed tritonserver on a repository."""
    where = [f"--{name}-port={getattr(ports, name)}" for name in ("http", "grpc", "metrics")]
    where += [LOCAL, "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"]
    how = [f"--model-repository={repository}", f"--backend-directory={backends(scratch)}"]
    how += ["--disable-auto-complete-config", "--exit-timeout-secs=5"]
    how += [f"--backend-config=python,shm-region-prefix-name=supervised{os.getpid()}"]
    return [str(wheel() / "bin/tritonserver"), *how, *where]


@contextmanager
def _started(repository: Path, scratch: Path) -> Iterator[Started]:
    ports, log = Ports(free_port(), free_port(), free_port()), scratch / "log"
    command = [sys.executable, "-m", "medseg.triton_models.supervise", *_words(repository, scratch, ports)]
    with log.open("w") as out:
        process = psutil.Popen(command, env=environment(), stdout=out, stderr=subprocess.STDOUT)
    started, family = Started(process, ports, log), list[psutil.Process]()
    try:
        started.until("Python processes are watched")
        family = process.children(recursive=True)
        yield started
    finally:
        for one in [process, *family, *(process.children(recursive=True) if process.is_running() else [])]:
            with suppress(psutil.NoSuchProcess):  # in a container the end of the first process is everybody's
                one.kill()
        process.wait()


def _mask(ports: Ports):
    model = served_pipeline(f"grpc://127.0.0.1:{ports.grpc}", TASK)
    try:
        asked = {"encoded": encoded_tensor([grey16(40, 30)]), "wanted": encoded_tensor([b"mask"])}
        return model.ask(asked, ("mask",))["mask"]
    finally:
        model.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_python_process_that_dies_or_freezes_is_replaced_and_a_stop_ends_all(
    repository: Path, tmp_path: Path, how: signal.Signals
) -> None:
    with _started(repository, tmp_path) as started:
        before = _mask(started.ports)
        started.stub("gi-tract-answer-step").send_signal(how)
        started.until("model gi-tract-answer-step is back after")
        assert (_mask(started.ports) == before).all()
        with grpc.InferenceServerClient(f"127.0.0.1:{started.ports.grpc}") as client:
            for refused in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match="restricted"):
                    refused("gi-tract-answer-step")
        started.process.terminate()
        assert started.process.wait(PATIENCE_S) == 0


def test_when_tritonserver_ends_the_container_ends_with_its_code(repository: Path, tmp_path: Path) -> None:
    with _started(repository, tmp_path) as started:
        (server,) = [one for one in started.process.children() if one.name() == "tritonserver"]
        server.kill()
        assert started.process.wait(PATIENCE_S) == 128 + signal.SIGKILL


def test_a_tritonserver_that_hangs_while_it_starts_is_ended(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(starting, "STALLED_SECONDS", 5.0)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    ports, deadline = Ports(free_port(), free_port(), free_port()), time.monotonic() + PATIENCE_S
    server = supervise.contained(_words(repository, tmp_path, ports), tmp_path)
    server.start()
    family = [psutil.Process(server.process.pid)]
    try:
        while not (stubs := stubs_of(server)) and time.monotonic() < deadline:
            time.sleep(0.001)
        for _, stub in stubs:
            stub.suspend()
        family += family[0].children(recursive=True)
        assert not server.becomes_ready()
    finally:
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    assert server.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert "tritonserver did nothing for 5 s while it started; it is ended" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model-repository={empty}", LOCAL], r"empty holds no models; expected what `medseg serve --write-only"),
        ([LOCAL], "no --model-repository holds no models"),
        (["--model-repository={models}"], "HTTP would listen on every address, where anybody could load models"),
        (["--model-repository", "{models}", "--http-address", "10.0.0.1"], "HTTP would listen on 10.0.0.1"),
    ],
)
def test_what_cannot_be_supervised_is_refused_in_one_sentence(
    repository: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [word.format(empty=tmp_path / "empty", models=repository) for word in words]
    with pytest.raises(InputError, match=said):
        supervise.contained(["tritonserver", *filled], tmp_path)


def test_the_port_and_every_model_are_taken_from_the_options(repository: Path, tmp_path: Path) -> None:
    words = ["tritonserver", f"--model-repository={repository}", LOCAL, "--http-port", "8123"]
    found = supervise.contained(words, tmp_path)
    assert found.http == "127.0.0.1:8123" and list(found.command[: len(words)]) == words
    assert {f"--load-model={folder.name}" for folder in repository.iterdir()} < set(found.command)
