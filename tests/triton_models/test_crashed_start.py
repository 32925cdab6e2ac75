"""A tritonserver that crashes while it starts is started again, and its log says why."""

import signal
from pathlib import Path

import pytest

pytest.importorskip("pytriton")

from medseg.engines.runs import exported_file
from medseg.engines.triton import TritonModel
from medseg.errors import ServerError
from medseg.tasks import task_named
from medseg.triton_models import server as server_module
from medseg.triton_models.config import Served
from medseg.triton_models.log import reason
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from tests.bench.runs import bright_run

TASK = task_named("gi-tract")


def test_a_server_that_crashes_while_it_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bright_run(tmp_path / "run", TASK.networks[0])
    file = str(exported_file(run, "openvino", "fp32"))
    names = write(tmp_path / "models", TASK, [Served(TASK.networks[0], file, "openvino", 1, 1)])
    starts: list[int] = []
    ready = server_module._await_ready

    def crash_at_first(server: Server) -> None:
        starts.append(server.process.pid)
        if len(starts) <= crashes:
            server.process.send_signal(signal.SIGABRT)
            server.process.wait()
        ready(server)

    monkeypatch.setattr(server_module, "_await_ready", crash_at_first)
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


def test_the_reason_of_a_crash_is_not_that_there_is_no_gpu(tmp_path: Path) -> None:
    lines = [
        'E1128 12:02:00.856684 11781 server.cc:241] "CudaDriverHelper has not been initialized."',
        "terminate called after throwing an instance of 'boost::interprocess::lock_exception'",
    ]
    log = tmp_path / "triton.log"
    log.write_text("\n".join(lines))
    assert reason(log, 0) == f"it crashed (boost::interprocess::lock_exception) (log: {log})"
    assert reason(log, len(log.read_bytes())) == f"it says nothing (log: {log})"
