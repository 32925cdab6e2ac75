"""A reader of volumes in a process of its own, so that a crash or a hang is an outcome and not the end of the test."""

import hashlib
import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError
from tests.fuzz.outcomes import CrashError

_SECONDS = 29  # less than the harness waits


@dataclass(frozen=True)
class Answer:
    """What reading gave: the pixels' fingerprint, the geometry, and how many notes."""

    pixels: str
    geometry: tuple[float, ...]
    notes: int


class Reader:
    """A process that reads what it is told to; a new one where the last one ended."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        assert self._ours.recv() == "ready"

    def read(self, path: Path) -> Answer:
        """What reading this path gives. Raises what that raised, TimeoutError, or CrashError of its process."""
        self._ours.send(path)
        try:
            if self._ours.poll(_SECONDS):
                found: Answer | Exception = self._ours.recv()
                if isinstance(found, Exception):
                    raise found
                return found
            failed: Exception = TimeoutError()
        except EOFError:
            failed = CrashError(str(self._process.exitcode))
        self.close()
        self._start()
        raise failed

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _serve(connection: Connection) -> None:
    from medseg.data.volume import read_volume

    connection.send("ready")
    while True:
        path = connection.recv()
        try:
            connection.send(_read(read_volume(path)))
        except MedsegError as error:
            connection.send(error)
        except Exception as error:
            connection.send(RuntimeError(repr(error)))  # which can be sent, whatever it was


def _read(volume: Any) -> Answer:
    shape = str(volume.array.shape).encode()
    geometry = (*volume.geometry.spacing_mm, *volume.geometry.origin_mm, *volume.geometry.direction)
    return Answer(hashlib.sha256(shape + volume.array.tobytes()).hexdigest(), geometry, len(volume.notes))
