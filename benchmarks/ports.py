"""Ports for servers of their own: those that `medseg serve` took, and one for a program that must be told a number."""

from __future__ import annotations

import random
import re
import socket

from medseg.triton_models.server import Ports

ANY_PORTS = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")
_BELOW_OUTGOING = range(20_000, 32_000)  # Linux takes the ports of outgoing connections from 32768 on
_TOLD = re.compile(r"http://[\d.]+:(?P<http>\d+) and \w+://\S+:(?P<grpc>\d+); metrics: http://\S+:(?P<metrics>\d+)/")


def told_ports(line: str) -> Ports:
    """The ports in the line that `medseg serve` says when it is ready."""
    found = _TOLD.search(line)
    assert found, f"the server said {line!r}"
    return Ports(**{name: int(port) for name, port in found.groupdict().items()})


def free_port() -> int:
    """A port of loopback that is free at the moment, and that no outgoing connection takes in the meantime."""
    while True:
        port = random.choice(_BELOW_OUTGOING)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
