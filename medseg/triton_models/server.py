"""The real tritonserver, from the nvidia-pytriton wheel, as a child of this process: started, awaited, stopped."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import ServerError
from medseg.triton_models.access import LOOPBACK, Access, arguments

LOCAL = Access()
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_READY_SECONDS = 120
_STOP_SECONDS = 15
_SHM = Path("/dev/shm")
_SHM_PREFIX = "medseg_"


@dataclass(frozen=True)
class Ports:
    """Where the server listens; each must be free."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


@dataclass(frozen=True)
class Server:
    """A running server: its process, its ports on loopback, and the file its log goes to."""

    process: subprocess.Popen[bytes]
    ports: Ports
    log: Path

    @property
    def url(self) -> str:
        """The HTTP address."""
        return f"http://{LOOPBACK}:{self.ports.http}"

    def reason(self) -> str:
        """What the log says of a failure."""
        return _log_reason(self.log)


@contextmanager
def serving(
    repository: Path, models: Sequence[str], ports: Ports, log: Path, access: Access = LOCAL
) -> Iterator[Server]:
    """A server on a model repository, ready; it is stopped, with all its processes, when the block is left.

    HTTP and the metrics listen on loopback, whatever the access. Raises ServerError where the wheel is missing, a port
    is taken, or a model does not load: with the log's reason.
    """
    for port in (ports.http, ports.grpc, ports.metrics):
        _check_free(port)
    _remove_stale_memory()
    ctypes.CDLL(None).prctl(
        _PR_SET_CHILD_SUBREAPER, 1
    )  # stubs that a hard stop leaves behind become ours, to be reaped
    with tempfile.TemporaryDirectory(prefix="medseg-triton-") as scratch:
        command = [*_command(repository, models, ports, _backends(Path(scratch))), *arguments(access)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, env=_environment(), stdout=out, stderr=out, start_new_session=True, preexec_fn=_die_with_parent
            )
        server = Server(process, ports, log)
        try:
            _await_ready(server, models)
            yield server
        finally:
            _stop(process)


def free_ports() -> Ports:
    """Three ports that are free now."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for one in (a, b, c):
            one.bind((LOOPBACK, 0))
        return Ports(*(one.getsockname()[1] for one in (a, b, c)))


def tritonserver_help() -> str:
    """What the wheel's tritonserver says of its options."""
    told = subprocess.run([str(_wheel() / "bin" / "tritonserver"), "--help"], env=_environment(), capture_output=True)
    return (told.stdout + told.stderr).decode()


def _wheel() -> Path:
    """The wheel's tritonserver folder. Importing the wheel is not needed."""
    found = importlib.util.find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        raise ServerError("the embedded server needs 'nvidia-pytriton': pip install 'medseg[triton]'")
    return Path(found.submodule_search_locations[0]) / "tritonserver"


def _backends(scratch: Path) -> Path:
    """A backend folder whose python backend uses the stub built for this Python."""
    wheel = _wheel()
    stub = (
        wheel
        / "python_backend_stubs"
        / f"{sys.version_info.major}.{sys.version_info.minor}"
        / "triton_python_backend_stub"
    )
    if not stub.is_file():
        found = ", ".join(sorted(folder.name for folder in stub.parents[1].iterdir()))
        raise ServerError(f"nvidia-pytriton has no stub for Python {stub.parent.name}; expected one of {found}")
    folder = scratch / "python"
    folder.mkdir()
    for file in [*(wheel / "backends" / "python").iterdir(), stub]:
        link = folder / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    _check_stub(folder / stub.name)
    return scratch


def _check_stub(stub: Path) -> None:
    """A stub that cannot start would hang the load for ever: run it bare, where 127 means a library is missing."""
    tried = subprocess.run([str(stub)], env=_environment(), capture_output=True, timeout=30, check=False)
    if tried.returncode == 127:
        reason = tried.stderr.decode(errors="replace").strip()
        raise ServerError(f"Triton's python stub does not start ({reason}): install Python with its shared library")


def _environment() -> dict[str, str]:
    """The stub takes its Python from PATH and its libraries from LD_LIBRARY_PATH.

    Memory that a request leaves is kept for the next one: giving tensors of megabytes back to the kernel and taking
    them anew, page by page, cost 5 % of a CT's time.
    """
    libraries = [_wheel().parents[1] / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in [*libraries, inherited] if path),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    }


def _command(repository: Path, models: Sequence[str], ports: Ports, backends: Path) -> list[str]:
    return [
        str(_wheel() / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={_SHM_PREFIX}{os.getpid()}_",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in models),
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        "--exit-timeout-secs=5",
        f"--http-address={LOOPBACK}",
        f"--metrics-address={LOOPBACK}",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
    ]


def _die_with_parent() -> None:
    """In the child: be told to stop when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ServerError(
                f"port {port} is taken ({error.strerror}); expected a free one: choose another port"
            ) from error


def _await_ready(server: Server, models: Sequence[str]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    waiting = list(models)
    while waiting:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"tritonserver did not get model {waiting[0]!r} ready: {_log_reason(server.log)}")
        waiting = [name for name in waiting if not _answers(f"{server.url}/v2/models/{name}/ready")]
        time.sleep(0.1 if waiting else 0)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _log_reason(log: Path) -> str:
    """Why a model failed to load, or the log's last error, and where the rest is."""
    errors = re.findall(r"^E\d{4} .*?\] (.*)$", log.read_text(errors="replace"), re.MULTILINE)
    load = [line for line in errors if "failed to load" in line or "Poll failed" in line]
    return f"{(load or errors[-1:] or ['it says nothing'])[0]} (log: {log})"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM and a wait; then SIGKILL for the whole session, so that no stub outlives its server."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-process.pid, 0)
    _remove_memory(os.getpid())


def _remove_stale_memory() -> None:
    """Shared-memory files of servers and clients whose process is gone, as a crash leaves them."""
    for path in _SHM.glob("medseg*_*"):
        owner = re.match(r"medseg(?:-client)?_(\d+)_", path.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            path.unlink(missing_ok=True)


def _remove_memory(owner: int) -> None:
    for path in _SHM.glob(f"{_SHM_PREFIX}{owner}_*"):
        path.unlink(missing_ok=True)
