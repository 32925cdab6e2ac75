"""tritonserver in a container, with the watcher that it lacks: the one program that an image of NVIDIA's starts.

    python3 -m medseg.triton_models.supervise tritonserver --model-repository=/models --http-address=127.0.0.1 ...

A Python process that died or froze is replaced and its model loaded again, while the others go on. When tritonserver
itself ends, so does this program, with its code: what started the container starts it again. A tritonserver that hangs
while it starts is ended. Models are loaded over HTTP, which must listen only inside the container; over gRPC a secret
key is needed.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from medseg.errors import InputError, MedsegError
from medseg.triton_models import starting
from medseg.triton_models.control import did
from medseg.triton_models.pulse import FOLDER, Pulses
from medseg.triton_models.stubs import THREADS, processes
from medseg.triton_models.watch import mend

_LOOPBACK = ("127.0.0.1", "localhost")
_LOOK_SECONDS = 0.2


@dataclass
class Contained:
    """A tritonserver that somebody else's options start, behind whatever stands in front of the container."""

    command: Sequence[str]
    models: Sequence[str]
    http: str  # its address and port
    sockets: Path
    process: subprocess.Popen[bytes] = field(init=False)
    start_seconds: float = field(init=False, default=0.0)
    whole: Counter[str] = field(init=False, default_factory=Counter)
    closing: bool = field(init=False, default=False)  # it was asked to end

    def start(self) -> None:
        """Start it; its words go where ours go."""
        self.process = subprocess.Popen(self.command, env=os.environ | {FOLDER: str(self.sockets)})

    def becomes_ready(self) -> bool:
        """Whether every model is loaded, once that is so; False if it ended before, or hangs and was ended."""
        started, progress = time.monotonic(), starting.Progress(self.process.pid)
        while self.process.poll() is None and not self.did("GET", "/v2/health/ready", 5):
            if progress.stalled():
                _tell(f"tritonserver did nothing for {starting.STALLED_SECONDS:.0f} s while it started; it is ended")
                self.process.kill()
                self.process.wait()
            time.sleep(_LOOK_SECONDS)
        self.start_seconds, self.whole = time.monotonic() - started, processes(self)
        return self.process.poll() is None

    def end(self, *_: object) -> None:
        """Ask it to end, as we are asked to."""
        self.closing = True
        self.process.terminate()

    def did(self, method: str, path: str, seconds: float) -> bool:
        """Whether it did what was asked of it, in this time."""
        return did(self.http, method, path, seconds)

    def others(self) -> dict[int, str]:
        """Nothing else of ours runs beside it."""
        return {}

    def ask_again(self) -> None:
        """Who waited at a process that died was told so: there is no front of ours that keeps requests."""

    def mark(self) -> None:
        """Its log is the container's."""

    def reason(self) -> str:
        """Where to read why something failed."""
        return "see tritonserver's lines above"


def contained(words: Sequence[str], folder: Path) -> Contained:
    """The server that these words start, set up so that only we can load its models.

    Raises InputError for words that name no repository, or that let HTTP be reached from elsewhere.
    """
    repositories = [Path(path) for path in _told(words, "--model-repository")]
    names = sorted(file.parent.name for path in repositories for file in path.glob("*/config.pbtxt"))
    if not names:
        where = ", ".join(map(str, repositories)) or "no --model-repository"
        raise InputError(
            f"{where} holds no models; expected what `medseg serve --write-only DIR` writes: mount it there"
        )
    address = (_told(words, "--http-address") or ["every address"])[-1]  # where Triton listens unless it is told
    if address not in _LOOPBACK:
        raise InputError(
            f"HTTP would listen on {address}, where anybody could load models; expected --http-address=127.0.0.1"
        )
    port = (_told(words, "--http-port") or ["8000"])[-1]
    ours = ["--model-control-mode=explicit", *(f"--load-model={name}" for name in names)]
    if not any("thread-pool-size" in word for word in words):
        ours.append(THREADS)
    ours.append(f"--grpc-restricted-protocol=model-repository:medseg-{secrets.token_hex(4)}={secrets.token_hex(16)}")
    return Contained([*words, *ours], names, f"{address}:{port}", folder)


def main(words: Sequence[str]) -> int:
    """tritonserver's exit code, as a shell says it, when it has ended."""
    with TemporaryDirectory(prefix="medseg-") as folder:
        try:
            server = contained(words, Path(folder))
            server.start()
        except (MedsegError, OSError) as error:
            _tell(str(error))
            return 1
        for which in (signal.SIGTERM, signal.SIGINT):
            signal.signal(which, server.end)
        if server.becomes_ready():
            _tell(f"{len(server.models)} models are loaded; {server.whole.total()} Python processes are watched")
        pulses = Pulses(server.sockets)
        while server.process.poll() is None:
            if server.closing:
                server.process.wait()
            else:
                mend(server, pulses, _tell)
    code = server.process.returncode
    return code if code >= 0 else 128 - code


def _told(words: Sequence[str], option: str) -> list[str]:
    """The values that these words give an option, as --option=value or --option value."""
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    return joined + [value for name, value in pairwise(words) if name == option]


def _tell(line: str) -> None:
    print(f"medseg: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
