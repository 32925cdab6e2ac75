"""What is asked of Triton itself, over its own HTTP socket, or inside of a container over the loopback there."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from medseg.triton_models.front.doors import http_socket


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("triton", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def did(where: Path | str, method: str, path: str, seconds: float) -> bool:
    """Whether Triton, by the folder of its sockets or its HTTP address, answered with 200 in this time."""
    if isinstance(where, Path):
        connection: http.client.HTTPConnection = _Connection(http_socket(where), seconds)
    else:
        connection = http.client.HTTPConnection(where, timeout=seconds)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None)
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
