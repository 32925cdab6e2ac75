"""The front before the real server: who is turned away, what never reaches Triton, and that all else passes."""

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from medseg.data.byte_strings import framed
from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import TritonModel
from medseg.errors import InputError, ServerError
from medseg.tasks import task_named
from medseg.triton_models.access import Access
from medseg.triton_models.front.rules import MOST_BYTES, Sent, check_inputs, rewritten
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from tests.dali_pipelines.damage import grey16
from tests.triton_models.certificates import certificate, needs_openssl

MODEL = "gi-tract-check-step"
PICTURE = framed(encoded_tensor([grey16(20, 30)]))
TENSORS = {"encoded": encoded_tensor([grey16(20, 30)])}
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("front")
    write(folder / "models", task_named("gi-tract"), [])
    with serving(folder / "models", [MODEL], folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secured")
    write(folder / "models", task_named("gi-tract"), [])
    (folder / "token").write_text("a-token-of-some-length")
    access = Access("127.0.0.1", *certificate(folder, "server"), None, folder / "token")
    with serving(folder / "models", [MODEL], folder / "log", access=access) as running:
        yield running


def _well(server: Server) -> None:
    """Everybody of this machine is answered, and rightly."""
    assert server.process.poll() is None
    for url in (server.url, f"grpc://127.0.0.1:{server.ports.grpc}"):
        model = TritonModel(url, MODEL)
        assert model.ask(TENSORS, ("size",))["size"].ravel().tolist() == [20, 30]
        model.close()


def _intrude(server: Server, user: int) -> dict[str, object]:
    numbers = (server.ports.http, server.ports.grpc, server.process.pid, user)
    command = [sys.executable, "-m", "tests.triton_models.intruder", *map(str, numbers)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@needs_root
def test_another_user_controls_nothing_and_reads_nothing(server: Server) -> None:
    assert _intrude(server, NOBODY) == {"http": {"GET /v2": 200}, "grpc": ["metadata"], "files": []}
    assert not Path("/tmp/medseg-intruder").exists()
    _well(server)


@needs_root
@needs_openssl
def test_nor_with_tls_and_a_token(secured: Server) -> None:
    assert _intrude(secured, NOBODY) == {"http": {"GET /v2": 200}, "grpc": [], "files": []}
    assert secured.process.poll() is None


def test_the_ports_control_nothing_for_the_server_s_own_user_either(server: Server) -> None:
    found = _intrude(server, 0)
    assert (found["http"], found["grpc"]) == ({"GET /v2": 200}, ["metadata"])
    assert found["files"]  # what the intruder looks for is there
    _well(server)


def test_tritonserver_listens_on_no_port_and_its_command_line_holds_no_secret(server: Server) -> None:
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    assert not [one for process in family for one in process.net_connections("tcp")]
    key = next(Path("/dev/shm").glob(f"medseg-key_{os.getpid()}_{server.ports.http}")).read_text()
    mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert not any(key in _words(process) for process in mine)


def _words(process: psutil.Process) -> str:
    """A process's command line, empty where it has ended since it was listed."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # of which a zombie is a kind
        return ""


def _raw(server: Server, *pieces: bytes) -> bytes:
    """The status line and body of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", server.ports.http), timeout=PATIENCE_S) as one:
        one.settimeout(30)
        for piece in pieces:
            one.sendall(piece)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := one.recv(1 << 16)):
            answer += more
    return answer


def _post(server: Server, body: bytes, *headers: str, path: str = f"/v2/models/{MODEL}/infer") -> int:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return int(_raw(server, "\r\n".join([*lines, "", ""]).encode() + body).split()[1])


def _described(**changed: object) -> bytes:
    about = {"name": "encoded", "shape": [len(PICTURE)], "datatype": "UINT8"}
    about |= {"parameters": {"binary_data_size": PICTURE.nbytes}} | changed
    return json.dumps({"inputs": [about], "parameters": {"binary_data_output": True}}).encode()


def _infer(server: Server, text: bytes, data: bytes = PICTURE.tobytes()) -> int:
    return _post(server, text + data, f"Inference-Header-Content-Length: {len(text)}")


JSON = b'{"inputs": [{"name": "encoded", "shape": [1, 4], "datatype": "UINT8", "data": [1, 2, 3, 4]}]}'
TEXTS = {
    "3 MB of [": b"[" * 3_000_000,
    "60 KB of [": b"[" * 60_000,
    "nested objects": b'{"a":' * 12_000,
    "nested parameters": b'{"inputs": [], "parameters": {"a": ' + b"[" * 9_000 + b"]" * 9_000 + b"}}",
    "JSON tensors": JSON,
    "JSON of 2^33": JSON.replace(b"[1, 4]", b"[8589934592, 4]"),
    "values twice": JSON.replace(b'"data"', b'"data": [1], "data"'),
    "a long number": b'{"inputs": ' + b"9" * 50_000 + b"}",
    "not UTF-8": b'{"inputs": "\xff"}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", TEXTS)
def test_json_tensors_and_worse_do_not_reach_the_server(server: Server, name: str) -> None:
    assert _post(server, TEXTS[name]) == 400
    assert _infer(server, TEXTS[name], b"") == 400
    _well(server)


CHANGES = {
    "2^33 bytes": {"shape": [2**33]},
    "a product that leaves 64 bits": {"shape": [2**33, 2**33]},
    "an empty one whose other axes leave 64 bits": {"shape": [0, 2**62, 2**62], "parameters": {"binary_data_size": 0}},
    "below zero": {"shape": [-57]},
    "a shape of text": {"shape": "1"},
    "a shape of fractions": {"shape": [57.0]},
    "a shape of truths": {"shape": [True]},
    "many axes": {"shape": [1] * 40},
    "another size than its shape's": {"shape": [3]},
    "a size below zero": {"parameters": {"binary_data_size": -1}},
    "strings": {"datatype": "BYTES"},
    "an unknown type": {"datatype": "FP4"},
    "values too": {"data": [1]},
    "another key": {"x": 1},
    "shared memory": {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_absurd_descriptions_do_not_reach_the_server(server: Server, name: str) -> None:
    assert _infer(server, _described()) == 200
    assert _infer(server, _described(**CHANGES[name])) == 400
    _well(server)


HEADS = {
    "a page's origin": ("Origin: https://evil.example", 403),
    "this machine's own page": ("Origin: http://localhost:8000", 403),
    "no origin, of a page": ("Origin: null", 403),
    "chunks": ("Transfer-Encoding: chunked", 411),
    "compressed": ("Content-Encoding: gzip", 411),
    "a second length": ("Content-Length: 3", 400),
    "a length of text": ("Inference-Header-Content-Length: x", 400),
    "a length beyond the body": ("Inference-Header-Content-Length: 99999999", 400),
    "a length below zero": ("Inference-Header-Content-Length: -1", 400),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_that_are_refused(server: Server, name: str) -> None:
    header, status = HEADS[name]
    assert _post(server, _described(), header) == status
    _well(server)


def test_a_page_whose_name_was_made_to_mean_this_machine_is_refused(server: Server) -> None:
    for host, status in (("evil.example:8000", b"403"), ("127.0.0.1:8000", b"200"), ("[::1]:8000", b"200")):
        assert _raw(server, f"GET /v2/health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).split()[1] == status


def test_more_than_a_request_may_have_is_refused_before_it_is_taken(server: Server) -> None:
    head = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MOST_BYTES + 1}\r\n\r\n"
    assert _raw(server, head.encode()).split()[1] == b"413"
    client = grpc.InferenceServerClient(
        f"127.0.0.1:{server.ports.grpc}", channel_args=[("grpc.max_send_message_length", -1)]
    )
    data = grpc.InferInput("encoded", [MOST_BYTES + (1 << 20)], "UINT8")
    data.set_data_from_numpy(np.zeros(MOST_BYTES + (1 << 20), np.uint8))
    with pytest.raises(InferenceServerException, match="larger than max"):
        client.infer(MODEL, [data])
    assert psutil.Process(server.process.pid).memory_info().rss < MOST_BYTES


@pytest.mark.parametrize(
    "bytes_", [b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"x" * 3_000_000]
)
def test_what_is_no_request_is_refused_or_cut(server: Server, bytes_: bytes) -> None:
    with suppress(ConnectionError):
        assert b" 200 " not in _raw(server, bytes_, b"\r\n\r\n")
    _well(server)


def test_the_metrics_are_where_they_were(server: Server) -> None:
    import urllib.error
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports.metrics}/metrics", timeout=PATIENCE_S) as answer:
        assert b"nv_inference_request_success" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.ports.metrics}/v2/health/live", timeout=PATIENCE_S)


def test_numbers_one_by_one_are_refused_over_grpc_too(server: Server) -> None:
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    asked = service_pb2.ModelInferRequest(model_name=MODEL)
    entry = asked.inputs.add(name="encoded", datatype="UINT8", shape=[1, 4])
    entry.contents.uint_contents.extend([1, 2, 3, 4])
    import grpc as real

    with real.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(real.RpcError, match="raw_input_contents"):
            stub.ModelInfer(asked, timeout=PATIENCE_S)
    _well(server)


def test_without_the_key_there_is_no_shared_memory(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.engines.triton.key_headers", lambda port: {})
    for url in (server.url, f"grpc://127.0.0.1:{server.ports.grpc}"):
        model = TritonModel(url, MODEL, shared=True)
        with pytest.raises((InputError, ServerError), match="shared memory"):
            model.ask(TENSORS, ("size",))
        model.close()
    assert not list(Path("/dev/shm").glob(f"medseg-client_{os.getpid()}_*"))


def test_a_description_that_is_right_is_kept() -> None:
    text = _described()
    assert json.loads(rewritten(text, PICTURE.nbytes, False)) == json.loads(text)
    check_inputs([Sent("ct", "INT16", (0, 512, 512), 0), Sent("flag", "BOOL", (), 1)])
    with pytest.raises(InputError, match="expected 1"):
        check_inputs([Sent("flag", "BOOL", (), 2)])


def test_an_input_in_shared_memory_may_be_larger_than_a_request_but_not_than_it_says() -> None:
    ct = (1200, 512, 512)  # 600 MiB
    check_inputs([Sent("ct", "INT16", ct, None, 2 * math.prod(ct))])
    with pytest.raises(InputError, match="and 512 MiB"):
        check_inputs([Sent("ct", "INT16", ct, 2 * math.prod(ct))])
    for shape, shared in ((ct, 2 * math.prod(ct) - 1), ((2**31, 2**31), 2**63), ((2**40,), 2**41)):
        with pytest.raises(InputError, match="expected"):
            check_inputs([Sent("ct", "INT16", shape, None, shared)])
