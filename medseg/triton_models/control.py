"""What is asked of Triton itself, over its own HTTP socket, which only its owner can reach."""

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


def did(sockets: Path, method: str, path: str, seconds: float) -> bool:
    """Whether Triton answered with 200, in this time."""
    connection = _Connection(http_socket(sockets), seconds)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None)
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
