"""A wheel of this tree, installed as by a user: in a fresh environment, without the checkout and its [tool.uv]."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ports import ANY_PORTS, told_ports
from medseg.tasks import network_named, task_named
from tests.bench.runs import bright_run

ROOT = Path(__file__).parents[1]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
pytestmark = [pytest.mark.fresh, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The `bin` folder of an environment that holds `medseg[openvino,triton]` and the server."""
    folder = tmp_path_factory.mktemp("fresh")
    python = folder / "environment" / "bin" / "python"
    run(folder, "uv", "build", "--quiet", "--out-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(folder, "uv", "venv", "--quiet", "--python", sys.executable, python.parents[1])
    wanted = f"medseg[openvino,triton] @ {wheel.as_uri()}"
    run(folder, "uv", "pip", "install", "--quiet", "--no-config", "--python", python, wanted)
    run(folder, python.parent / "medseg", "server", "install")
    return python.parent


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run of the brain network, exported by this checkout."""
    return bright_run(tmp_path_factory.mktemp("runs") / "brain", network_named("brain-lgg")).path


def run(folder: Path, program: str | Path, *words: object) -> None:
    found = shutil.which(program, path=PATH)
    assert found, f"{program} is not here"
    environment = os.environ | {"PATH": PATH}
    told = subprocess.run([found, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_it_serves_and_predicts_what_was_exported_elsewhere(fresh, exported, tmp_path):
    task_named("brain-lgg").known_data("test").phantom(tmp_path / "data", 1, 0)
    (patient,) = (tmp_path / "data" / "kaggle_3m").iterdir()
    predict = (fresh / "medseg", "predict", "brain-lgg", patient)
    words = (fresh / "medseg", "serve", "brain-lgg", "--run", exported, "--decoder", "reference", *ANY_PORTS)
    with subprocess.Popen(list(map(str, words)), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = told_ports(server.stdout.readline()).http
            run(tmp_path, *predict, "--url", f"http://127.0.0.1:{port}", "--out", "served")
        finally:
            server.terminate()
    run(tmp_path, *predict, "--run", exported, "--out", "here")
    served, here = (sorted((tmp_path / name).glob("*.png")) for name in ("served", "here"))
    assert served and [file.read_bytes() for file in served] == [file.read_bytes() for file in here]


def test_what_is_not_installed_is_named_with_its_extra(fresh, exported, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    task_named("luna").known_data("make patients").phantom(tmp_path / "data", 1, 0)
    for words, extra in (
        (("export", exported), "export"),
        (("import", "luna-segment", "weights.pt", "--out", "a"), "torch|export"),
        (("train", "luna-segment", "data", "--out", "b"), "train|torch|export"),
    ):
        told = subprocess.run([fresh / "medseg", *map(str, words)], cwd=tmp_path, capture_output=True, text=True)
        assert told.returncode == 1 and told.stderr.count("\n") == 1, told.stderr
        assert any(f"pip install 'medseg[{one}]'" in told.stderr for one in extra.split("|")), told.stderr
