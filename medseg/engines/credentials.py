"""What a client shows to a server beyond this machine: files that environment variables name.

MEDSEG_TOKEN_FILE holds the token. MEDSEG_TLS_CA is the authority that signed the server's certificate, where it is not
a public one; MEDSEG_TLS_CERT and MEDSEG_TLS_KEY are the client's own, for mutual TLS. All but the token are PEM files.
"""

from __future__ import annotations

import os
from pathlib import Path

from medseg.errors import InputError

_HEADERS = ("medseg-token", "triton-grpc-protocol-medseg-token")  # for the front, and for tritonserver itself
_FILES = {"root_certificates": "MEDSEG_TLS_CA", "certificate_chain": "MEDSEG_TLS_CERT", "private_key": "MEDSEG_TLS_KEY"}


def headers() -> dict[str, str]:
    """The headers with the token; none where no token is set. Raises InputError where its file cannot be read."""
    path = _path("MEDSEG_TOKEN_FILE")
    return dict.fromkeys(_HEADERS, path.read_text().strip()) if path else {}


def tls_options() -> dict[str, str | bool]:
    """The gRPC client's options for an encrypted connection. Raises InputError where a file is missing."""
    found = {option: _path(variable) for option, variable in _FILES.items()}
    return {"ssl": True} | {option: str(path) for option, path in found.items() if path}


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not Path(value).is_file():
        raise InputError(f"{variable} is {value!r}, which is no file; expected a path, or nothing: unset it")
    return Path(value)
