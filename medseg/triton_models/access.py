"""Who may reach the server: processes of this machine; from elsewhere gRPC alone, encrypted and with a token.

Triton's HTTP has no TLS, and one JSON request with an absurd dimension ends the whole server: HTTP stays on loopback.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError

LOOPBACK = "127.0.0.1"
TOKEN_HEADER = "triton-grpc-protocol-medseg-token"  # noqa: S105 - the header's name; its prefix is Triton's
_KEY = "medseg-token"
_OPEN = "health,metadata,inference,model-config,statistics"  # to whom has the token
_CLOSED = "shared-memory,model-repository,trace,logging"  # to nobody: they reach into this machine
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")


@dataclass(frozen=True)
class Access:
    """The address that gRPC listens on; beyond loopback with the files for TLS, and the token that clients send."""

    host: str = LOOPBACK
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None  # clients need a certificate of this authority
    token_file: Path | None = None

    @property
    def local(self) -> bool:
        """Whether nothing listens beyond this machine."""
        return _address(self.host).is_loopback


def arguments(access: Access) -> list[str]:
    """Tritonserver's options for gRPC. Raises InputError where the host is no address, or needs what is not given."""
    options = [f"--grpc-address={access.host}"]
    if access.local and not access.certificate and not access.token_file:
        return options
    if not (access.certificate and access.key and access.token_file):
        raise InputError(
            f"--host {access.host} without all of --tls-cert, --tls-key and --token-file; expected them: "
            "beyond loopback gRPC is encrypted, and clients send a token"
        )
    missing = [path for path in (access.certificate, access.key, access.client_ca) if path and not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]} does not exist; expected a PEM file")
    options += [
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={access.certificate}",
        f"--grpc-server-key={access.key}",
        f"--grpc-restricted-protocol={_OPEN}:{_KEY}={_token(access.token_file)}",
        f"--grpc-restricted-protocol={_CLOSED}:{_KEY}={secrets.token_urlsafe(32)}",
    ]
    if access.client_ca:
        options += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={access.client_ca}"]
    return options


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError as error:
        raise InputError(f"--host is {host!r}; expected an address of this machine, such as 127.0.0.1") from error


def _token(path: Path) -> str:
    """The token in a file: a command line would show it, in the shell's history too."""
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected a file that holds the token") from error
    if not _TOKEN.fullmatch(token):
        raise InputError(f"{path} holds no token; expected at least 16 letters, digits or . _ ~ - on one line")
    return token
