"""The server out of its wheel: the recorded one alone, whole or not at all."""

import hashlib
import importlib.util
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.cli.doctor import _server
from medseg.errors import ServerError
from medseg.tasks import task_named
from medseg.triton_models import install as installing
from medseg.triton_models.repository import write
from medseg.triton_models.server import serving
from medseg.triton_models.wheel import backends, homes, wheel

STUB = "triton_python_backend_stub"
REAL = importlib.util.find_spec
INFO = f"nvidia_pytriton-{installing.VERSION}.dist-info"
FILES = {
    "pytriton/__init__.py": b"raise ImportError",
    "pytriton/tritonserver/bin/tritonserver": b"a server",
    "nvidia_pytriton.libs/libone.so": b"a library",
    f"{INFO}/licenses/LICENSE": b"a licence",
    f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: {installing.PACKAGE}\nVersion: {installing.VERSION}\n"
    "Requires-Dist: numpy<2\n".encode(),
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A wheel of the name and shape of the real one, recorded as it; and an empty place to install to."""
    file = tmp_path / f"nvidia_pytriton-{installing.VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        archive.writestr(f"{INFO}/RECORD", "".join(f"{name},,\n" for name in [*FILES, f"{INFO}/RECORD"]))
    monkeypatch.setattr(installing, "SHA256", (hashlib.sha256(file.read_bytes()).hexdigest(),))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pytriton" else REAL(name))
    return file


def test_only_the_server_is_kept_and_found(given, tmp_path):
    home = installing.install(given)
    assert home == tmp_path / "environment" / "share" / "medseg" / "tritonserver"
    assert wheel() == home / "pytriton" / "tritonserver" == homes()[0]
    kept = {str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()}
    assert kept == {name for name in FILES if name.startswith(installing.KEPT)}
    assert installing.install(given) == home  # again, over the first
    assert [path.name for path in home.parent.iterdir()] == ["tritonserver"]


def test_another_wheel_is_refused_and_leaves_nothing(given, tmp_path, monkeypatch):
    monkeypatch.setattr(installing, "SHA256", ("0" * 64,))
    with pytest.raises(ServerError, match=r"could not be downloaded: .*sha256.*--wheel FILE"):
        installing.install(given)
    assert not [*(tmp_path / "environment" / "share" / "medseg").iterdir()]


def test_a_wheel_that_is_not_there(given, tmp_path):
    with pytest.raises(ServerError, match=r"there is no file .*expected the wheel"):
        installing.install(tmp_path / "nothing.whl")


def test_outside_of_an_environment_it_is_the_users(given, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.prefix", sys.base_prefix)
    assert installing._home() == tmp_path / "data" / "medseg" / "tritonserver"


def test_without_a_server_the_command_is_named(given):
    with pytest.raises(ServerError, match="`medseg server install`"):
        wheel()


def test_neither_pip_nor_uv(given, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServerError, match="neither pip nor uv"):
        installing.install()


@pytest.fixture
def other_build(tmp_path: Path) -> Callable[[str], Path]:
    """A server laid out as in NVIDIA's images, whose one stub is for this version of Python."""
    ours = wheel()

    def made(python: str) -> Path:
        folder = tmp_path / "opt" / "tritonserver"
        (folder / "backends").mkdir(parents=True)
        for name in ("bin", "lib"):
            if (ours / name).exists():
                (folder / name).symlink_to(ours / name)
        shutil.copytree(ours / "backends" / "python", folder / "backends" / "python")
        shutil.copy(ours / "python_backend_stubs" / python / STUB, folder / "backends" / "python")
        return folder

    return made


def test_another_build_of_the_server_is_taken_where_it_is_named(other_build, tmp_path, monkeypatch):
    folder = other_build(f"{sys.version_info.major}.{sys.version_info.minor}")
    libraries = str(wheel().parents[1] / "nvidia_pytriton.libs")  # which NVIDIA's image has on the system
    monkeypatch.setenv("LD_LIBRARY_PATH", libraries)
    monkeypatch.setenv("MEDSEG_TRITONSERVER", str(folder))
    assert wheel() == folder and _server().fact == str(folder)
    write(tmp_path / "models", task_named("gi-tract"), [])
    with serving(tmp_path / "models", ["gi-tract-check-step"], tmp_path / "log") as server:
        assert str(folder) in server.command[0]


def test_a_build_that_does_not_fit_is_one_sentence(other_build, tmp_path, monkeypatch):
    other = next(one for one in ("3.12", "3.11") if one != f"{sys.version_info.major}.{sys.version_info.minor}")
    monkeypatch.setenv("MEDSEG_TRITONSERVER", str(other_build(other)))
    with pytest.raises(ServerError, match=f"no stub for Python .*expected one of {other}: use that Python"):
        backends(tmp_path)
    monkeypatch.setenv("MEDSEG_TRITONSERVER", str(tmp_path))
    with pytest.raises(ServerError, match=r"there is no Triton server in .*bin/tritonserver, as /opt/tritonserver"):
        wheel()
