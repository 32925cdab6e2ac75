"""The nvidia-pytriton wheel: its tritonserver, the stub for this Python, and what both need around them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from medseg.errors import ServerError
from medseg.triton_models.heap import SERVER


def tritonserver_help() -> str:
    """What the wheel's tritonserver says of its options."""
    told = subprocess.run([str(wheel() / "bin" / "tritonserver"), "--help"], env=environment(), capture_output=True)
    return (told.stdout + told.stderr).decode()


def wheel() -> Path:
    """The wheel's tritonserver folder. Importing the wheel is not needed."""
    found = importlib.util.find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        raise ServerError("the embedded server needs 'nvidia-pytriton': pip install 'medseg[triton]'")
    return Path(found.submodule_search_locations[0]) / "tritonserver"


def backends(scratch: Path) -> Path:
    """A backend folder whose python backend uses the stub built for this Python."""
    stub = (
        wheel()
        / "python_backend_stubs"
        / f"{sys.version_info.major}.{sys.version_info.minor}"
        / "triton_python_backend_stub"
    )
    if not stub.is_file():
        found = ", ".join(sorted(folder.name for folder in stub.parents[1].iterdir()))
        raise ServerError(f"nvidia-pytriton has no stub for Python {stub.parent.name}; expected one of {found}")
    folder = scratch / "python"
    folder.mkdir()
    for file in [*(wheel() / "backends" / "python").iterdir(), stub]:
        link = folder / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    _check_stub(folder / stub.name)
    return scratch


def _check_stub(stub: Path) -> None:
    """A stub that cannot start would hang the load for ever: run it bare, where 127 means a library is missing."""
    tried = subprocess.run([str(stub)], env=environment(), capture_output=True, timeout=30, check=False)
    if tried.returncode == 127:
        reason = tried.stderr.decode(errors="replace").strip()
        raise ServerError(f"Triton's python stub does not start ({reason}): install Python with its shared library")


def environment() -> dict[str, str]:
    """The stub takes its Python from PATH and its libraries from LD_LIBRARY_PATH."""
    libraries = [wheel().parents[1] / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return (
        os.environ
        | SERVER
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in [*libraries, inherited] if path),
            "PYTHONUNBUFFERED": "1",
        }
    )
