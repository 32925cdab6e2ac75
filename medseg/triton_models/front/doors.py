"""What the front is told: where it listens, where Triton does, and what clients must show."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError

DRAIN = "MEDSEG_DRAIN_SECONDS"  # the environment variable


def drain_seconds() -> float:
    """How long gRPC requests that are running when the server is asked to end may still take.

    New requests are refused. Raises InputError for a value that is not a time.
    """
    told = os.environ.get(DRAIN, "20")
    if not re.fullmatch(r"\d{1,5}(\.\d+)?", told):
        raise InputError(f"{DRAIN} is {told!r}; expected seconds, such as 20: change it, or unset it")
    return float(told)


@dataclass(frozen=True)
class Doors:
    """HTTP listens on loopback, metrics on `metrics_host`; gRPC on `host`, with TLS where there is a certificate.

    Port 0 is any free one.
    """

    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    sockets: str  # the folder of Triton's sockets, which only its owner may enter
    key: str  # opens shared memory
    token: str = ""  # what gRPC clients must show; none is asked for where it is empty
    certificate: str = ""
    certificate_key: str = ""
    client_ca: str = ""
    metrics_host: str = "127.0.0.1"

    def trusts(self, keys: Iterable[str]) -> bool:
        """Whether one of these is the key to shared memory."""
        return any(_same(key, self.key) for key in keys)

    def welcomes(self, tokens: Iterable[str]) -> bool:
        """Whether one of these is the token, or none is needed."""
        return not self.token or any(_same(token, self.token) for token in tokens)


def shut(host: str, port: int, error: OSError) -> OSError:
    """What is said of a door that cannot be opened."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return OSError(f"port {port} of {host} cannot be opened ({why}); expected a free port: choose another")


def http_socket(sockets: Path) -> str:
    """The path of Triton's HTTP socket."""
    return str(sockets / "http")


def metrics_socket(sockets: Path) -> str:
    """The path of Triton's metrics socket."""
    return str(sockets / "metrics")


def grpc_socket(sockets: Path) -> str:
    """The path of Triton's gRPC socket: Triton joins address and port by a colon, for a socket too."""
    return str(sockets / "grpc:1")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
