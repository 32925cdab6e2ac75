"""Ctrl-C while a server is asked: the command ends with 130 and has written nothing, though the answer never comes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from medseg.tasks import task_named

grpc = pytest.importorskip("grpc")
HANG_S = 120  # far less than the time for which a client waits for an answer


@pytest.fixture
def asked() -> Event:
    """Set once the server is asked for an answer."""
    return Event()


@pytest.fixture
def over() -> Iterator[Event]:
    """What the server waits for, in place of an answer."""
    event = Event()
    yield event
    event.set()


@pytest.fixture
def http_url(asked: Event, over: Event) -> Iterator[str]:
    """A server that tells its models' parameters and answers nothing else."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = json.dumps({"parameters": {}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            asked.set()
            over.wait()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()


@pytest.fixture
def grpc_url(asked: Event, over: Event) -> Iterator[str]:
    """The same over gRPC."""
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    def config(_self: object, _request: object, _context: object) -> object:
        return service_pb2.ModelConfigResponse(config={"name": "it"})

    def infer(_self: object, _request: object, _context: object) -> object:
        asked.set()
        over.wait()
        return service_pb2.ModelInferResponse()

    base = service_pb2_grpc.GRPCInferenceServiceServicer
    servicer = type("Servicer", (base,), {"ModelConfig": config, "ModelInfer": infer})
    server = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    over.set()
    server.stop(None).wait()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_ctrl_c_ends_predict_while_a_server_is_asked(
    scheme: str, asked: Event, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{scheme}_url")
    task_named("gi-tract").known_data("test").phantom(tmp_path / "data", 1, 0)
    words = ["predict", "gi-tract", tmp_path / "data", f"--url={url}", f"--out={tmp_path / 'out'}"]
    process = subprocess.Popen([sys.executable, "-m", "medseg", *words], stderr=subprocess.PIPE, text=True)
    try:
        assert asked.wait(HANG_S)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "Traceback" not in said
    assert not list(tmp_path.glob("out/*"))
