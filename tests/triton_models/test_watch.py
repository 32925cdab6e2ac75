"""The watcher over servers that do not come back: who ends again and again, and who hangs while it loads."""

from pathlib import Path

import pytest

pytest.importorskip("pytriton")

from medseg.errors import ServerError
from medseg.triton_models.server import Server, serving
from medseg.triton_models.stubs import Stubs
from medseg.triton_models.watch import _await_end, watch

HANGING = """
import os, time
class TritonPythonModel:
    def initialize(self, args):
        while os.path.exists({!r}):
            time.sleep(0.05)
    def execute(self, requests):
        return []
"""


def test_a_server_that_ends_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("medseg.triton_models.watch._pause", lambda seconds: told.append(f"pause {seconds}"))
    with serving(tmp_path, [], tmp_path / "log") as server:

        def hear(line: str) -> None:
            told.append(line)
            if "back" in line:
                server.process.kill()
                server.process.wait()

        server.process.kill()
        server.process.wait()
        with pytest.raises(ServerError, match="by signal SIGKILL, the 7th time in 10 minutes"):
            watch(server, hear)
    assert [line for line in told if "pause" in line] == [f"pause {2**n - 1}" for n in range(6)]


def test_a_model_that_hangs_while_it_loads_does_not_hold_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton answers to a load when the model's process is ready, and waits for it without end."""
    hangs, model, told = tmp_path / "hangs", tmp_path / "repository/slow", list[str]()
    (model / "1").mkdir(parents=True)
    (model / "1/model.py").write_text(HANGING.format(str(hangs)))
    (model / "config.pbtxt").write_text(
        'backend: "python"\ninput [{name: "a", data_type: TYPE_FP32, dims: [1]}]\n'
        'output [{name: "b", data_type: TYPE_FP32, dims: [1]}]'
    )
    monkeypatch.setattr("medseg.triton_models.watch._LEAST_LOAD_SECONDS", 2.0)
    monkeypatch.setattr("medseg.triton_models.watch._LOAD_TIMES", 0.0)
    with serving(model.parent, ["slow"], tmp_path / "log") as server:

        def hear(line: str) -> None:
            told.append(line)
            if "is ended" in line:
                hangs.unlink()
            server.closing |= "tritonserver is back" in line

        def rest(server: Server, stubs: Stubs, seconds: float) -> None:
            """The first time, when the watcher knows the server whole, the model's process dies."""
            if not told:
                hangs.touch()
                stubs[0][1].kill()
            _await_end(server, stubs, seconds)

        monkeypatch.setattr("medseg.triton_models.watch._await_end", rest)
        watch(server, hear)
    assert "model slow did not load in 2 s; tritonserver is ended" in told
