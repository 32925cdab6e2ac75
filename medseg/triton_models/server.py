"""The real tritonserver, from the nvidia-pytriton wheel, behind our front: started, awaited, stopped.

The front listens before tritonserver starts, so nobody else can take its ports while the models load.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from medseg.engines.credentials import write_key
from medseg.errors import InputError, ServerError
from medseg.scratch import Scratch
from medseg.triton_models import memory, starting
from medseg.triton_models.access import LOOPBACK, Access, doors
from medseg.triton_models.child import private
from medseg.triton_models.control import did
from medseg.triton_models.front.doors import Doors, drain_seconds, grpc_socket, http_socket, metrics_socket
from medseg.triton_models.front.guard import ORPHANED, note_session
from medseg.triton_models.heap import FRONT
from medseg.triton_models.log import emptied, reason
from medseg.triton_models.pulse import FOLDER
from medseg.triton_models.stubs import THREADS, processes
from medseg.triton_models.wheel import backends, environment, wheel

LOCAL = Access()
_PR_SET_CHILD_SUBREAPER = 36
_STOP_SECONDS = 15
_LONGEST_FOLDER = 80  # a socket's path has at most 107 bytes


@dataclass(frozen=True)
class Ports:
    """Where the front listens; each must be free. 0 is any free one. Raises InputError for what is no port."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    def __post_init__(self) -> None:
        for name, port in asdict(self).items():
            if not 0 <= port < 2**16:
                raise InputError(
                    f"the {name} port is {port}; expected 1 to 65535, or 0 for any free one: choose another"
                )


ANY = Ports(0, 0, 0)


@dataclass
class Server:
    """A server: tritonserver's process, which may be another one later, its front, and its log."""

    log: Path
    sockets: Path  # the folder of tritonserver's own sockets, for this user alone
    models: Sequence[str]
    command: Sequence[str]
    behind: Doors
    process: subprocess.Popen[bytes] = field(init=False)
    front: subprocess.Popen[bytes] = field(init=False)
    closing: bool = field(init=False, default=False)  # it ends because it was asked to
    start_seconds: float = field(init=False, default=0.0)  # until all its models were loaded, the last time
    whole: Counter[str] = field(init=False, default_factory=Counter)  # its models' python processes at that moment
    _told: int = field(init=False, default=0)  # how much of the log is older than what is happening now

    @property
    def ports(self) -> Ports:
        """The ports that the front listens on."""
        return Ports(self.behind.http_port, self.behind.grpc_port, self.behind.metrics_port)

    @property
    def url(self) -> str:
        """The HTTP address."""
        return f"http://{LOOPBACK}:{self.ports.http}"

    def start(self) -> None:
        """Start tritonserver and wait for its models. Raises ServerError with the log's reason."""
        for name in (http_socket, metrics_socket, grpc_socket):
            Path(name(self.sockets)).unlink(missing_ok=True)
        self.mark()
        started = time.monotonic()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                env=environment() | {FOLDER: str(self.sockets)},
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=partial(_guarded, self.sockets),
            )
        starting.await_ready(self)
        self.start_seconds, self.whole = time.monotonic() - started, processes(self)

    def start_front(self) -> None:
        """Start the front, which listens when it is told to; from now on it cleans up if this process is killed."""
        with self.log.open("ab") as out:
            self.front = subprocess.Popen(
                [sys.executable, "-m", "medseg.triton_models.front", str(os.getpid()), str(self.sockets)],
                env=os.environ | FRONT | {FOLDER: str(self.sockets)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                start_new_session=True,
                preexec_fn=_guarding,
            )

    def open_front(self) -> None:
        """Tell the front to listen, and wait until it does. Raises ServerError where it cannot."""
        assert self.front.stdin and self.front.stdout
        with suppress(BrokenPipeError), self.front.stdin as pipe:
            pipe.write(json.dumps(asdict(self.behind)).encode())
        with self.front.stdout as pipe:
            said = json.loads(pipe.readline() or "{}")
        if "ports" not in said:
            self.front.kill()
            self.front.wait()
            lines = self.log.read_text(errors="replace").splitlines() or ["?"]
            raise ServerError(said.get("refused") or f"the front did not open: {lines[-1]}")
        self.behind = replace(self.behind, **said["ports"])

    def close_front(self) -> None:
        """End the front after it has answered; this comes first, so that no connection keeps tritonserver alive."""
        self.front.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.front.wait(drain_seconds() + _STOP_SECONDS)
        self.front.kill()
        self.front.wait()

    def did(self, method: str, path: str, seconds: float) -> bool:
        """Whether tritonserver did what was asked of it, in this time."""
        return did(self.sockets, method, path, seconds)

    def others(self) -> dict[int, str]:
        """The other processes that must be alive."""
        return {self.front.pid: "the front"}

    def ask_again(self) -> None:
        """What waits at a process that died is asked again."""
        self.front.send_signal(signal.SIGUSR1)

    def ending(self) -> str:
        """How tritonserver ended."""
        code = self.process.returncode
        return f"by signal {signal.Signals(-code).name}" if code < 0 else f"by itself with code {code}"

    def stop(self) -> None:
        """SIGTERM and a wait; then SIGKILL for the whole session, so that no stub outlives its server."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-self.process.pid, 0)
        memory.remove_tensors(os.getpid())

    def mark(self) -> None:
        """From here on `reason` reads only new lines of the log."""
        self._told = self.log.stat().st_size if self.log.exists() else 0

    def reason(self) -> str:
        """What the log says of a failure since the mark: why a model did not load, or its last error."""
        return reason(self.log, self._told)


@contextmanager
def serving(
    repository: Path, models: Sequence[str], log: Path, ports: Ports = ANY, access: Access = LOCAL
) -> Iterator[Server]:
    """A server on a model repository, ready; it is stopped, with all its processes, when the block is left.

    HTTP listens on loopback, whatever the access. Raises ServerError where the wheel is missing, a port
    is taken, or a model does not load: with the log's reason.
    """
    drain_seconds()  # refused before anything is started
    memory.end_orphans()
    memory.remove_stale()
    ctypes.CDLL(None).prctl(
        _PR_SET_CHILD_SUBREAPER, 1
    )  # python processes that a hard stop leaves behind become children of this process, which reaps them
    with Scratch("triton", _short_folder()) as scratch:
        folder = Path(scratch)
        behind = doors(access, (ports.http, ports.grpc, ports.metrics), folder, secrets.token_urlsafe(32))
        emptied(log)
        server = Server(log, folder, models, [], behind)
        with _opened(server), _key_files(server):  # nothing else is made before the front is there to clean up
            try:
                server.command = _command(repository, models, backends(folder), folder)
                starting.started(server)
                yield server
            finally:
                server.closing = True
                server.close_front()
                server.stop()


@contextmanager
def _opened(server: Server) -> Iterator[None]:
    """The front listens; until tritonserver is there, it tells clients to try again."""
    server.start_front()
    try:
        server.open_front()
        yield
    finally:
        server.close_front()


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) < _LONGEST_FOLDER else "/tmp"


@contextmanager
def _key_files(server: Server) -> Iterator[None]:
    """The key to shared memory, in files that clients of this user find by a port and may read."""
    files = [write_key(os.getpid(), port, server.behind.key) for port in (server.ports.http, server.ports.grpc)]
    try:
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _guarded(sockets: Path) -> None:
    """What tritonserver does before it is tritonserver: it notes its session, for the front."""
    private()
    note_session(sockets, os.getpid())


def _guarding() -> None:
    """What the front does before it is the front: its owner's death ends no process that cannot clean up yet."""
    private(ORPHANED)
    signal.signal(ORPHANED, signal.SIG_IGN)


def _command(repository: Path, models: Sequence[str], found: Path, sockets: Path) -> list[str]:
    return [
        str(wheel() / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={found}",
        f"--backend-config=python,shm-region-prefix-name={memory.region_prefix(os.getpid())}",
        THREADS,
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in models),
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        "--exit-timeout-secs=5",
        f"--http-address=unix:{http_socket(sockets)}",
        f"--metrics-address=unix:{metrics_socket(sockets)}",
        f"--grpc-address=unix:{grpc_socket(sockets).removesuffix(':1')}",
        "--grpc-port=1",
    ]
