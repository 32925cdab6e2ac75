"""A server's ports are its own from the first moment: nobody takes one while the models load."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")

from tritonclient import grpc

from medseg.errors import InputError, ServerError
from medseg.triton_models import starting
from medseg.triton_models.access import Access
from medseg.triton_models.front.words import AWAY
from medseg.triton_models.server import ANY, Ports, Server, serving
from medseg.triton_models.watch import watch

KINDS = ("http", "grpc", "metrics")


def _numbers(server: Server) -> list[int]:
    return [getattr(server.ports, kind) for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holder", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_said_before_anything_starts(kind: str, holder: str, tmp_path: Path) -> None:
    with socket.create_server((holder, 0)) as other:
        port = other.getsockname()[1]
        said = rf"^port {port} of 127.0.0.1 cannot be opened \(Address already in use\); expected a free port"
        with (
            pytest.raises(ServerError, match=said),
            serving(tmp_path / "models", ["none"], tmp_path / "log", Ports(**(vars(ANY) | {kind: port}))),
        ):
            pass
    assert "manager.cc" not in (tmp_path / "log").read_text()  # tritonserver's first lines
    assert not list(Path("/dev/shm").glob(f"medseg-key_*_{port}"))


def test_one_port_for_two_purposes_and_an_address_of_another_machine_are_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(ServerError, match=f"port {port} of 127.0.0.1 .*in use"):
        serving(tmp_path, [], tmp_path / "log", Ports(port, port, 0)).__enter__()
    with pytest.raises(ServerError, match=r"of 192\.0\.2\.1 cannot be opened \(Cannot assign requested address\)"):
        serving(tmp_path, [], tmp_path / "log", access=Access(metrics_host="192.0.2.1")).__enter__()


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(InputError, match=f"the grpc port is {port}; expected 1 to 65535"):
        Ports(grpc=port)


def test_while_models_load_the_ports_are_held_and_clients_are_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, tried = starting.started, list[int]()

    def look_first(server: Server) -> None:
        for port in _numbers(server):
            with pytest.raises(OSError, match="in use"):
                socket.create_server(("127.0.0.1", port))
            tried.append(port)
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(f"{server.url}/v2/health/ready")
        assert told.value.code == 503 and AWAY in told.value.read().decode()
        with (
            grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client,
            pytest.raises(grpc.InferenceServerException, match=AWAY),
        ):
            client.is_server_ready()
        started(server)

    monkeypatch.setattr(starting, "started", look_first)
    with serving(tmp_path, [], tmp_path / "log") as server:
        assert tried == _numbers(server) and len(set(tried)) == 3
        assert urllib.request.urlopen(f"{server.url}/v2/health/ready").status == 200


def test_a_front_that_died_gets_its_port_back_from_a_program_that_held_it_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, held = list[str](), list[socket.socket]()
    monkeypatch.setattr("medseg.triton_models.watch._pause", lambda _: held.pop().close())
    with serving(tmp_path, [], tmp_path / "log") as server:
        before = server.ports

        def hear(line: str) -> None:
            told.append(line)
            if "it is opened again" in line:
                held.append(socket.create_server(("127.0.0.1", before.http)))
            server.closing |= "is back" in line

        server.front.kill()
        server.front.wait()
        watch(server, hear)
        assert [line.partition(" after")[0] for line in told] == [
            "the front ended; it is opened again",
            f"port {before.http} of 127.0.0.1 cannot be opened (Address already in use); expected a free port: choose "
            "another; it is tried again",
            "the front is back",
        ]
        assert server.ports == before


DYING = """
import os, signal, sys, time
from dataclasses import asdict
from pathlib import Path
import json
from medseg.triton_models.front.doors import Doors
from medseg.triton_models.server import Server

folder = Path(sys.argv[1])
behind = Doors("127.0.0.1", int(sys.argv[2]), 0, 0, str(folder), "key")
server = Server(folder.parent / "log", folder, [], [], behind)
server.start_front()
server.front.stdout.close()  # as a dying process closes its pipes, before its children are told of its death
server.front.stdin.write(json.dumps(asdict(behind)).encode())
server.front.stdin.close()
time.sleep(3)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("taken", [False, True])
def test_a_front_whose_owner_dies_while_it_opens_cleans_up(taken: bool, tmp_path: Path) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1]) if taken else "0"
        subprocess.run([sys.executable, "-c", DYING, str(folder), port], check=False)
        deadline = time.monotonic() + PATIENCE_S
        while folder.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    assert not folder.exists()
