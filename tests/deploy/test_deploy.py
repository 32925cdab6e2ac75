"""What deploy/ promises: files that parse, options and metrics that exist, and a front that lets in whom it should."""

import json
import re
import shutil
import ssl
import string
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("yaml")
import yaml
from tritonclient import grpc
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from benchmarks.ports import free_port
from medseg.cli.main import app
from medseg.data.byte_strings import framed
from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import TritonModel
from medseg.tasks import task_named
from medseg.triton_models.front.rpc import _OPEN
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from tests.dali_pipelines.damage import grey16
from tests.deploy.options import server_options
from tests.triton_models.certificates import certificate, needs_openssl

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MODEL, TOKEN = "gi-tract-check-step", "3f" * 32  # as long as what `openssl rand -hex 32` makes
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("deploy")
    write(folder / "models", task_named("gi-tract"), [])
    with serving(folder / "models", [MODEL], folder / "log") as running:
        yield running


def _documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def _expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    (rules,) = _documents("rules.yml")
    return [*asked, *(rule["expr"] for group in rules["groups"] for rule in group["rules"]), _adapter_query()]


def _adapter_query() -> str:
    """What the Prometheus adapter would ask, its template filled in as it does, with labels that exist here."""
    (adapter,) = _documents("helm/adapter.yaml")
    (rule,) = adapter["rules"]["custom"]
    filled = {"Series": rule["seriesQuery"].split("{")[0], "LabelMatchers": 'job="triton"', "GroupBy": "instance"}
    return re.sub(r"<<\.(\w+)>>", lambda name: filled[name[1]], rule["metricsQuery"])


def test_every_query_names_a_metric_that_the_server_exports(server: Server) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports.metrics}/metrics") as answer:
        exported = set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE))
    named = {name for text in _expressions() for name in re.findall(r"\bnv_\w+", text)}
    assert len(named) >= 10
    assert named <= exported


def test_every_option_of_the_server_exists() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    options = set(re.findall(r"--(?:http|grpc|metrics|model|exit|disable)-[a-z-]+", text))
    assert len(options) >= 5
    assert options <= server_options()


def test_every_option_of_medseg_exists() -> None:
    words = " ".join((DEPLOY / name).read_text() for name in ("compose.yaml", "Dockerfile"))
    used = set(re.findall(r"--[a-z-]+", " ".join(re.findall(r"medseg serve[^\n`]*", words))))
    help_text = CliRunner().invoke(app, ["serve", "--help"]).output
    assert used >= {"--target", "--write-only"}
    assert all(option in help_text for option in used)


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _query(port: int, expression: str) -> list[Any]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url) as answer:
        return list(json.load(answer)["data"]["result"])


@needs_prometheus
def test_a_real_prometheus_answers_every_query(server: Server, tmp_path: Path) -> None:
    """Two scrapes a second instead of one in five, from the embedded server; queries and rules as they are."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{server.ports.metrics}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(DEPLOY / "rules.yml", tmp_path)
    port = free_port()
    files = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    command = ["prometheus", *files, f"--web.listen-address=127.0.0.1:{port}"]
    alerts = {
        rule["expr"] for group in _documents("rules.yml")[0]["groups"] for rule in group["rules"] if "alert" in rule
    }
    asked = [text for text in _expressions() if text not in alerts]
    with _running(command, tmp_path / "log"):
        deadline = time.monotonic() + PATIENCE_S
        empty = list(asked)
        while empty and time.monotonic() < deadline:
            time.sleep(0.5)
            try:
                empty = [text for text in empty if not _query(port, text)]
            except OSError:
                continue
    assert not empty, (tmp_path / "log").read_text()[-2000:]


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Debian's nginx with the template's text, in front of the embedded server's gRPC."""
    folder, port = tmp_path_factory.mktemp("front"), free_port()
    pair = certificate(folder, "tls")
    pair[0].rename(folder / "tls.crt")
    (folder / "tokens.map").write_text(f'"{TOKEN}" 1;\n')
    text = string.Template((DEPLOY / "front.conf.template").read_text()).safe_substitute(
        TRITON_GRPC=f"127.0.0.1:{server.ports.grpc}", FRONT_PORT=f"127.0.0.1:{port}", FRONT_SECRETS=str(folder)
    )
    assert "keepalive_time 60s;" in text
    (folder / "default.conf").write_text(text.replace("keepalive_time 60s;", "keepalive_time 1s;"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ client_body_temp_path {folder}/body; include {folder}/default.conf; }}\n"
    )
    with _running(["nginx", "-c", str(folder / "nginx.conf")], folder / "log"):
        time.sleep(1)
        yield port, folder


def _client(front: tuple[int, Path]) -> grpc.InferenceServerClient:
    port, folder = front
    return grpc.InferenceServerClient(f"127.0.0.1:{port}", ssl=True, root_certificates=str(folder / "tls.crt"))


def _infer(client: grpc.InferenceServerClient, headers: dict[str, str]) -> list[int]:
    data = framed(encoded_tensor([grey16(20, 30)]))
    encoded = grpc.InferInput("encoded", list(data.shape), "UINT8")
    encoded.set_data_from_numpy(data)
    return list(
        client.infer(MODEL, [encoded], headers=headers, client_timeout=PATIENCE_S).as_numpy("size").ravel().tolist()
    )


def _ask(front: tuple[int, Path], headers: dict[str, str]) -> list[int]:
    client = _client(front)
    answer = _infer(client, headers)
    client.close()
    return answer


@needs_nginx
@needs_openssl
def test_the_front_lets_in_a_client_with_the_token_and_no_other(front: tuple[int, Path]) -> None:
    assert _ask(front, {"medseg-token": TOKEN}) == [20, 30]
    for headers in ({}, {"medseg-token": "another"}, {"medseg-token": TOKEN[:-1]}):
        with pytest.raises(InferenceServerException, match=r"401|UNAUTHENTICATED"):
            _ask(front, headers)


@needs_nginx
@needs_openssl
def test_a_client_connects_anew_after_a_while_and_loses_no_request(front: tuple[int, Path]) -> None:
    """Else a server that was added for long queues would wait for clients that are new."""
    client, mine = _client(front), set()
    for _ in range(4):
        assert _infer(client, {"medseg-token": TOKEN}) == [20, 30]
        connections = psutil.Process().net_connections("tcp")
        mine |= {one.laddr.port for one in connections if one.raddr and one.raddr.port == front[0]}
        time.sleep(1.1)
    client.close()
    assert len(mine) >= 2


@needs_nginx
@needs_openssl
def test_our_own_client_passes_the_front(front: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, folder = front
    (folder / "token").write_text(TOKEN)
    monkeypatch.setenv("MEDSEG_TLS_CA", str(folder / "tls.crt"))
    monkeypatch.setenv("MEDSEG_TOKEN_FILE", str(folder / "token"))
    model = TritonModel(f"grpcs://127.0.0.1:{port}", MODEL)
    assert model.ask({"encoded": encoded_tensor([grey16(20, 30)])}, ("size",))["size"].ravel().tolist() == [20, 30]
    model.close()


def test_the_front_forwards_what_our_own_front_does() -> None:
    """`medseg predict` reads an ensemble's configuration, `medseg bench` statistics."""
    text = (DEPLOY / "front.conf.template").read_text()
    (methods,) = re.findall(r"GRPCInferenceService/\(([\w|]+)\)", text)
    assert set(methods.split("|")) == {"ModelInfer", *_OPEN}


@needs_nginx
@needs_openssl
def test_the_front_forwards_inference_alone(front: tuple[int, Path], server: Server) -> None:
    client = _client(front)
    headers = {"medseg-token": TOKEN}
    assert client.is_server_ready(headers=headers)
    for forbidden in (
        lambda: client.unload_model(MODEL, headers=headers),
        lambda: client.register_system_shared_memory("region", "/region", 8, headers=headers),
        lambda: client.update_trace_settings(settings={"trace_level": ["OFF"]}, headers=headers),
    ):
        with pytest.raises(InferenceServerException, match=r"404|UNIMPLEMENTED"):
            forbidden()
    client.close()


@needs_nginx
@needs_openssl
def test_the_front_takes_no_json_tensors_and_no_endless_bodies(front: tuple[int, Path], server: Server) -> None:
    port, folder = front
    trusted = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    absurd = {"inputs": [{"name": "encoded", "shape": [2**33], "datatype": "UINT8", "data": [1]}]}
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/v2/models/{MODEL}/infer", json.dumps(absurd).encode(), {"medseg-token": TOKEN}
    )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request, context=trusted)
    path = "inference.GRPCInferenceService/ModelInfer"
    headers = {"medseg-token": TOKEN, "Content-Length": str(600 << 20)}
    huge = urllib.request.Request(f"https://127.0.0.1:{port}/{path}", b"", headers)
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(huge, context=trusted)
    assert _ask(front, {"medseg-token": TOKEN}) == [20, 30]
    assert server.process.poll() is None
