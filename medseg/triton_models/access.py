"""Who may reach the server: processes on this machine; other machines only by gRPC, encrypted and with a token."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import InputError
from medseg.triton_models.front.doors import Doors

LOOPBACK = "127.0.0.1"
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")


@dataclass(frozen=True)
class Access:
    """The address that gRPC listens on; beyond loopback with the files for TLS, and the token that clients send."""

    host: str = LOOPBACK
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None  # clients need a certificate from this authority
    token_file: Path | None = None
    metrics_host: str = LOOPBACK  # only numbers, so no token is needed

    def url(self, port: int) -> str:
        """The address for a gRPC client of this machine, or of another machine if those may connect."""
        everywhere = _address(self.host).is_unspecified
        name = socket.gethostname() if everywhere and not self.local else self.host
        return f"{'grpcs' if self.certificate else 'grpc'}://{f'[{name}]' if ':' in name else name}:{port}"

    @property
    def local(self) -> bool:
        """Whether nothing listens beyond this machine."""
        return _address(self.host).is_loopback


def check(access: Access) -> None:
    """Raise InputError where the host is not an address, or needs a file that is not given or cannot be used."""
    _address(access.metrics_host, "--metrics-host")
    if access.local and not access.certificate and not access.token_file:
        return
    if not (access.certificate and access.key and access.token_file):
        raise InputError(
            f"--host {access.host} needs --tls-cert, --tls-key and --token-file: beyond loopback, gRPC is encrypted "
            "and clients send a token"
        )
    missing = [path for path in (access.certificate, access.key, access.client_ca) if path and not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]} does not exist; expected a PEM file")
    _token(access.token_file)
    _check_pair(access.certificate, access.key)


def doors(access: Access, ports: tuple[int, int, int], sockets: Path, key: str) -> Doors:
    """What the front is told; `ports` are those of HTTP, gRPC and the metrics. Raises InputError as `check` does."""
    check(access)
    files = (access.certificate, access.key, access.client_ca)
    token = _token(access.token_file) if access.token_file else ""
    pem = (str(file.resolve()) if file else "" for file in files)
    told = Doors(access.host, *ports, str(sockets), key, token, *pem)
    return replace(told, metrics_host=access.metrics_host)


def _address(host: str, option: str = "--host") -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError as error:
        raise InputError(f"{option} is {host!r}; expected an address of this machine, such as 127.0.0.1") from error


def _token(path: Path) -> str:
    """The token in a file: a command line would show it, and so would the shell's history."""
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected a file that holds the token") from error
    if not _TOKEN.fullmatch(token):
        raise InputError(f"{path} holds no token; expected at least 16 letters, digits or . _ ~ - on one line")
    return token


def _check_pair(certificate: Path, key: Path) -> None:
    """Raise InputError for a certificate and key that do not fit or are not valid now; a handshake tests it."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        ours.load_cert_chain(certificate, key, password="")
        theirs.load_verify_locations(certificate)
    except (ssl.SSLError, OSError) as error:
        raise InputError(
            f"--tls-cert {certificate} and --tls-key {key} do not fit each other; expected a PEM pair"
        ) from error
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (theirs.wrap_bio(here, there), ours.wrap_bio(there, here, server_side=True))
    try:
        for end in ends * 2:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        raise InputError(
            f"--tls-cert {certificate} cannot be used ({error.verify_message}); expected a valid one"
        ) from error
