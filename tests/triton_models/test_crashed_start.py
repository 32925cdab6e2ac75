"""A tritonserver that crashes or hangs while it starts is started again, and its log says why."""

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("pytriton")

from medseg.engines.runs import exported_file
from medseg.engines.triton import TritonModel
from medseg.errors import ServerError
from medseg.tasks import task_named
from medseg.triton_models import starting
from medseg.triton_models.config import Served
from medseg.triton_models.log import reason
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from medseg.triton_models.stubs import stubs_of
from tests.bench.runs import bright_run
from tests.patience import PATIENCE_S

TASK = task_named("gi-tract")


def test_a_server_that_crashes_while_it_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = _written(tmp_path)
    starts: list[int] = []
    ready = starting.await_ready

    def crash_at_first(server: Server) -> None:
        starts.append(server.process.pid)
        if len(starts) <= crashes:
            server.process.send_signal(signal.SIGABRT)
            server.process.wait()
        ready(server)

    monkeypatch.setattr(starting, "await_ready", crash_at_first)
    crashes = 2
    with serving(tmp_path / "models", names, tmp_path / "triton.log") as running:
        assert len(starts) == 3 and TritonModel(running.url, TASK.name).statistics()["model_stats"]
    assert capsys.readouterr().err.count("tritonserver ended by signal SIGABRT while it started") == 2
    crashes = 99
    starts.clear()
    with (
        pytest.raises(ServerError, match="did not get model"),
        serving(tmp_path / "models", names, tmp_path / "triton.log"),
    ):
        pass
    assert len(starts) == 3


def test_a_server_that_hangs_while_it_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if a process of a model waited for another for ever, which was seen: nothing crashes, and nothing is said."""
    names, starts, ready = _written(tmp_path), list[int](), starting.await_ready
    monkeypatch.setattr(starting, "STALLED_SECONDS", 5.0)

    def hang_at_first(server: Server) -> None:
        starts.append(server.process.pid)
        deadline = time.monotonic() + PATIENCE_S
        while len(starts) == 1 and not (stubs := stubs_of(server)) and time.monotonic() < deadline:
            time.sleep(0.001)
        for _, process in stubs if len(starts) == 1 else ():
            process.suspend()
        ready(server)

    monkeypatch.setattr(starting, "await_ready", hang_at_first)
    with serving(tmp_path / "models", names, tmp_path / "triton.log") as running:
        assert len(starts) == 2 and TritonModel(running.url, TASK.name).statistics()["model_stats"]
    assert capsys.readouterr().err.count("tritonserver did nothing for 5 s while it started") == 1


def _written(folder: Path) -> list[str]:
    """The names of a repository's models."""
    run = bright_run(folder / "run", TASK.networks[0])
    file = str(exported_file(run, "openvino", "fp32"))
    return list(write(folder / "models", TASK, [Served(TASK.networks[0], file, "openvino", 1, 1)]))


def test_the_reason_of_a_crash_is_not_that_there_is_no_gpu(tmp_path: Path) -> None:
    lines = [
        'E1128 12:02:00.856684 11781 server.cc:241] "CudaDriverHelper has not been initialized."',
        "terminate called after throwing an instance of 'boost::interprocess::lock_exception'",
    ]
    log = tmp_path / "triton.log"
    log.write_text("\n".join(lines))
    assert reason(log, 0) == f"it crashed (boost::interprocess::lock_exception) (log: {log})"
    assert reason(log, len(log.read_bytes())) == f"it says nothing (log: {log})"
