"""Who may reach the server: gRPC with TLS and a token, tried with clients that lack one or the other."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import grpc as real_grpc
import numpy as np
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from medseg.data.byte_strings import framed
from medseg.data.encoded import encoded_tensor
from medseg.engines.credentials import TOKEN_HEADERS
from medseg.engines.shared_memory import LARGE_BYTES
from medseg.engines.triton import TritonModel
from medseg.errors import InputError, ServerError
from medseg.tasks import task_named
from medseg.triton_models.access import Access, check, doors
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from tests.dali_pipelines.damage import grey16
from tests.triton_models.certificates import certificate, needs_openssl

MODEL, TOKEN = "gi-tract-check-step", "a-token-of-some-length"
HEADERS = {TOKEN_HEADERS[0]: TOKEN}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        certificate(folder, name)
    (folder / "token").write_text(TOKEN + "\n")
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual tls"])
def secured(request: pytest.FixtureRequest, files: Path) -> Iterator[tuple[Server, bool]]:
    folder = files / f"models-{request.param}"
    write(folder, task_named("gi-tract"), [])
    authority = files / "client.pem" if request.param else None
    access = Access("127.0.0.1", files / "server.pem", files / "server.key", authority, files / "token")
    with serving(folder, [MODEL], files / "log", access=access) as server:
        yield server, request.param


def _client(server: Server, files: Path, certificate: bool) -> grpc.InferenceServerClient:
    own = {"private_key": str(files / "client.key"), "certificate_chain": str(files / "client.pem")}
    authority = {"ssl": True, "root_certificates": str(files / "server.pem")}
    return grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}", **authority, **(own if certificate else {}))


def _ask(client: grpc.InferenceServerClient, headers: dict[str, str]) -> list[int]:
    data = framed(encoded_tensor([grey16(20, 30)]))
    encoded = grpc.InferInput("encoded", list(data.shape), "UINT8")
    encoded.set_data_from_numpy(data)
    found = client.infer(MODEL, [encoded], headers=headers, client_timeout=PATIENCE_S).as_numpy("size")
    return found.ravel().tolist()


@needs_openssl
def test_a_client_with_certificate_and_token_is_answered(secured: tuple[Server, bool], files: Path) -> None:
    server, mutual = secured
    assert _ask(_client(server, files, mutual), HEADERS) == [20, 30]


@needs_openssl
def test_our_own_client_shows_what_the_environment_names(
    secured: tuple[Server, bool], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, mutual = secured
    monkeypatch.setenv("MEDSEG_TLS_CA", str(files / "server.pem"))
    url, tensors = f"grpcs://127.0.0.1:{server.ports.grpc}", {"encoded": encoded_tensor([grey16(20, 30)])}
    if mutual:
        monkeypatch.setenv("MEDSEG_TLS_CERT", str(files / "client.pem"))
        monkeypatch.setenv("MEDSEG_TLS_KEY", str(files / "client.key"))
    with pytest.raises(ServerError, match="restricted"):
        TritonModel(url, MODEL).ask(tensors, ("size",))
    monkeypatch.setenv("MEDSEG_TOKEN_FILE", str(files / "token"))
    model = TritonModel(url, MODEL)
    assert model.ask(tensors, ("size",))["size"].ravel().tolist() == [20, 30]
    assert model.statistics()
    model.close()
    monkeypatch.setenv("MEDSEG_TOKEN_FILE", "absent")
    with pytest.raises(InputError, match="MEDSEG_TOKEN_FILE is 'absent', which is not a file"):
        TritonModel(url, MODEL)


@needs_openssl
def test_large_inputs_go_through_the_connection_where_shared_memory_is_refused(
    secured: tuple[Server, bool], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, mutual = secured
    names = {"MEDSEG_TLS_CA": "server.pem", "MEDSEG_TOKEN_FILE": "token"}
    names |= {"MEDSEG_TLS_CERT": "client.pem", "MEDSEG_TLS_KEY": "client.key"} if mutual else {}
    for variable, name in names.items():
        monkeypatch.setenv(variable, str(files / name))
    monkeypatch.setattr("medseg.engines.triton.key_headers", lambda port: {})  # as another user's client
    noise = np.random.default_rng(0).integers(0, 2**16, (900, 900), np.uint16)
    file = cv2.imencode(".png", noise)[1].tobytes()
    assert len(file) > LARGE_BYTES
    model = TritonModel(f"grpcs://127.0.0.1:{server.ports.grpc}", MODEL, shared=None)
    for _ in range(2):
        assert model.ask({"encoded": encoded_tensor([file])}, ("size",))["size"].ravel().tolist() == [900, 900]
    assert not list(Path("/dev/shm").glob(f"medseg-client_{os.getpid()}_*"))
    model.close()


@needs_openssl
@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADERS[0]: "another"}])
def test_a_client_without_the_token_is_refused(
    secured: tuple[Server, bool], files: Path, headers: dict[str, str]
) -> None:
    server, mutual = secured
    client = _client(server, files, mutual)
    with pytest.raises(InferenceServerException, match="restricted"):
        _ask(client, headers)
    with pytest.raises(InferenceServerException, match="restricted"):
        client.get_server_metadata(headers=headers)


@needs_openssl
def test_nobody_reaches_into_the_machine(secured: tuple[Server, bool], files: Path) -> None:
    server, mutual = secured
    client = _client(server, files, mutual)
    with pytest.raises(InferenceServerException, match="restricted"):
        client.register_system_shared_memory("region", "/region", 8, headers=HEADERS)
    with pytest.raises(InferenceServerException, match="Method not found"):
        client.unload_model(MODEL, headers=HEADERS)


@needs_openssl
def test_a_client_without_tls_or_certificate_is_not_heard(secured: tuple[Server, bool], files: Path) -> None:
    server, mutual = secured
    plain = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
    clients = [plain, *([_client(server, files, False)] if mutual else [])]
    for client in clients:
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE|connect|handshake|Socket closed"):
            _ask(client, HEADERS)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::"])
def test_beyond_loopback_tls_and_a_token_are_asked_for(host: str) -> None:
    with pytest.raises(InputError, match="--token-file: beyond loopback, gRPC is encrypted"):
        check(Access(host))


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    certificate, token = tmp_path / "cert.pem", tmp_path / "token"
    certificate.touch()
    token.write_text("short")
    with pytest.raises(InputError, match="'localhost'; expected an address"):
        check(Access("localhost"))
    with pytest.raises(InputError, match=r"absent.pem does not exist"):
        check(Access("0.0.0.0", tmp_path / "absent.pem", certificate, None, token))
    with pytest.raises(InputError, match="holds no token; expected at least 16"):
        check(Access("0.0.0.0", certificate, certificate, None, token))
    token.write_text(TOKEN)
    with pytest.raises(InputError, match=r"cert.pem and --tls-key .* do not fit each other; expected a PEM pair"):
        check(Access("0.0.0.0", certificate, certificate, None, token))


def _expire(certificate: Path) -> None:
    """Write years that are over into a certificate, whose key still fits."""
    years_ago = re.sub(rb"\x17\x0d\d\d(\d{10}Z)", b"\x17\x0d01\\1", ssl.PEM_cert_to_DER_cert(certificate.read_text()))
    certificate.write_text(ssl.DER_cert_to_PEM_cert(years_ago))


@needs_openssl
def test_a_client_is_told_that_a_certificate_has_expired_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, key = certificate(tmp_path, "server")
    _expire(pem)
    monkeypatch.setenv("MEDSEG_TLS_CA", str(pem))
    server = real_grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port(
        "127.0.0.1:0", real_grpc.ssl_server_credentials([(key.read_bytes(), pem.read_bytes())])
    )
    server.start()
    model = TritonModel(f"grpcs://127.0.0.1:{port}", MODEL, timeout_s=PATIENCE_S)
    with pytest.raises(ServerError, match=r"cannot be used \(certificate has expired\); expected") as told:
        model.ping()
    assert len(str(told.value).splitlines()) == 1
    server.stop(0)


@needs_openssl
def test_a_certificate_whose_time_is_over_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (pem, key), (past, its_key) = certificate(tmp_path, "now"), certificate(tmp_path, "past")
    check(Access("0.0.0.0", pem, key, None, tmp_path / "token"))
    _expire(past)
    with pytest.raises(InputError, match=r"past.pem cannot be used \(certificate has expired\)"):
        check(Access("0.0.0.0", past, its_key, None, tmp_path / "token"))
    with pytest.raises(InputError, match="do not fit"):
        check(Access("0.0.0.0", pem, its_key, None, tmp_path / "token"))


def test_loopback_needs_nothing() -> None:
    check(Access())


def test_the_address_that_is_told_is_the_one_that_works() -> None:
    files = {"certificate": Path("a"), "key": Path("b"), "token_file": Path("c")}
    assert Access().url(8001) == "grpc://127.0.0.1:8001"
    assert Access("127.0.0.1", **files).url(8001) == "grpcs://127.0.0.1:8001"
    assert Access("10.0.0.7", **files).url(9000) == "grpcs://10.0.0.7:9000"
    assert Access("0.0.0.0", **files).url(9000) == f"grpcs://{socket.gethostname()}:9000"
    assert Access("::1", **files).url(9000) == "grpcs://[::1]:9000"


def test_the_metrics_may_have_a_host_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--metrics-host is 'nowhere'; expected an address"):
        check(Access(metrics_host="nowhere"))
    told = doors(Access(metrics_host="0.0.0.0"), (1, 2, 3), tmp_path, "key")
    assert (told.host, told.metrics_host) == ("127.0.0.1", "0.0.0.0")


@pytest.mark.parametrize("told", ["soon", "-1", "", "1e9"])
def test_a_drain_that_is_no_time_is_refused_before_anything_starts(tmp_path, monkeypatch, told):
    monkeypatch.setenv("MEDSEG_DRAIN_SECONDS", told)
    with (
        pytest.raises(InputError, match=r"MEDSEG_DRAIN_SECONDS is .*expected seconds"),
        serving(tmp_path, [], tmp_path / "log"),
    ):
        pass
    assert not list(tmp_path.iterdir())
