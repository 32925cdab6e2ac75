"""The credentials that a client shows to a server on another machine: files that environment variables name.

MEDSEG_TOKEN_FILE holds the token. MEDSEG_TLS_CA is the authority that signed the server's certificate, where it is not
a public one; MEDSEG_TLS_CERT and MEDSEG_TLS_KEY are the client's own, for mutual TLS. All but the token are PEM files.

On the server's own machine, clients of the server's own user may hand tensors over in shared memory. They show a key,
which lies where the tensors would lie, in a file that nobody else may read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from medseg.errors import InputError

TOKEN_HEADERS = ("medseg-token", "triton-grpc-protocol-medseg-token")  # a front's, and a bare tritonserver's
KEY_HEADER = "medseg-key"
_SHM = Path("/dev/shm")
_FILES = {"root_certificates": "MEDSEG_TLS_CA", "certificate_chain": "MEDSEG_TLS_CERT", "private_key": "MEDSEG_TLS_KEY"}


def headers() -> dict[str, str]:
    """The headers with the token; none where no token is set. Raises InputError where its file cannot be read."""
    path = _path("MEDSEG_TOKEN_FILE")
    return dict.fromkeys(TOKEN_HEADERS, path.read_text().strip()) if path else {}


def tls_options() -> dict[str, str | bool]:
    """The gRPC client's options for an encrypted connection. Raises InputError where a file is missing."""
    found = {option: _path(variable) for option, variable in _FILES.items()}
    return {"ssl": True} | {option: str(path) for option, path in found.items() if path}


def write_key(owner: int, port: int, key: str) -> Path:
    """Write the key of the server that process `owner` runs on a port; the file's path."""
    path = _SHM / f"medseg-key_{owner}_{port}"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key)
    return path


def key_headers(port: int) -> dict[str, str]:
    """The header with the key of this user's server on a port of this machine; none where there is no such server."""
    for path in _SHM.glob(f"medseg-key_*_{port}"):
        with suppress(OSError):
            if path.stat().st_uid == os.geteuid():
                return {KEY_HEADER: path.read_text()}
    return {}


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not Path(value).is_file():
        raise InputError(f"{variable} is {value!r}, which is not a file; expected a path: correct or unset it")
    return Path(value)
