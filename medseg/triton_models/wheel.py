"""What the nvidia-pytriton wheel holds: tritonserver, the stub for this Python, and what both need around them.

Another build of the server takes its place where MEDSEG_TRITONSERVER names its folder, as /opt/tritonserver in NVIDIA's
images: with a python backend whose one stub is for this Python.

Its Python code is not used, and what that asks for (numpy before 2) could not be installed beside medseg. So the wheel
is no dependency: `medseg server install` takes the server out of it (install.py).
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from medseg.errors import ServerError
from medseg.triton_models.heap import SERVER

NVIDIAS = Path("/opt/tritonserver")  # where NVIDIA's images have theirs
CHOSEN = "MEDSEG_TRITONSERVER"  # the environment variable; `medseg serve --tritonserver` sets it
_STUB = "triton_python_backend_stub"


def wheel() -> Path:
    """The tritonserver folder. Raises ServerError naming the command that brings it where there is none."""
    if chosen := os.environ.get(CHOSEN):
        if not Path(chosen, "bin", "tritonserver").is_file():
            raise ServerError(
                f"there is no Triton server in {chosen} ({CHOSEN}); expected a folder with bin/tritonserver, as "
                "/opt/tritonserver in NVIDIA's images: choose such a folder, or leave it out"
            )
        return Path(chosen)
    found = next((folder for folder in homes() if (folder / "bin" / "tritonserver").is_file()), None)
    if found is None:
        raise ServerError("there is no Triton server here: `medseg server install` installs it (a download of 55 MB)")
    return found


def homes() -> list[Path]:
    """Where the tritonserver folder may be, the first choice first: what `medseg server install` made, the package.

    The package need not be imported, nor what it asks for be installed.
    """
    found = importlib.util.find_spec("pytriton")
    packages = [Path(place) for place in (found.submodule_search_locations if found else None) or ()]
    return [folder / "tritonserver" for folder in [*(root / "pytriton" for root in roots()), *packages]]


def roots() -> list[Path]:
    """Where `medseg server install` may put it: this environment, if it is one of its own, and the user's data."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    own = [Path(sys.prefix) / "share"] if sys.prefix != sys.base_prefix else []
    return [folder / "medseg" / "tritonserver" for folder in [*own, data]]


def backends(scratch: Path) -> Path:
    """A backend folder whose python backend uses the stub built for this Python."""
    stub = _stub(wheel(), f"{sys.version_info.major}.{sys.version_info.minor}")
    folder = scratch / "python"
    folder.mkdir()
    for file in [*(wheel() / "backends" / "python").iterdir(), stub]:
        link = folder / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    _check_stub(folder / stub.name)
    return scratch


def _stub(server: Path, python: str) -> Path:
    """The program that runs python models under this Python. Raises ServerError naming those that there are."""
    several, one = server / "python_backend_stubs", server / "backends" / "python" / _STUB
    if several.is_dir():
        known = sorted(folder.name for folder in several.iterdir())
    else:
        known = [python.decode() for python in re.findall(rb"libpython(3\.\d+)\.so", _read(one))[:1]]
    if python not in known:
        found = ", ".join(known) or "none"
        raise ServerError(
            f"the Triton server has no stub for Python {python}; expected one of {found}: use that Python"
        )
    return several / python / _STUB if several.is_dir() else one


def _read(stub: Path) -> bytes:
    return stub.read_bytes() if stub.is_file() else b""


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
