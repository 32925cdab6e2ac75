"""The whole command on a network small enough for a test: here, on the embedded server, and on one that is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from threading import Thread
from time import monotonic, sleep

import pytest
from typer.testing import CliRunner

from medseg.bench.cases import made_up
from medseg.bench.lineup import usual
from medseg.bench.measure.rounds import PATIENCE
from medseg.cli.main import app
from medseg.engines.runs import exported_file
from medseg.engines.shared_memory import PREFIX
from medseg.engines.triton import TritonModel
from medseg.errors import InputError, MedsegError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.config import Served
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from tests.bench.runs import bright_run
from tests.patience import PATIENCE_S

TASK = task_named("gi-tract")
NETWORK = TASK.networks[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return bright_run(tmp_path_factory.mktemp("run") / "bright", NETWORK)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up(TASK, tmp_path_factory.mktemp("data") / "phantom")


@pytest.fixture
def server(run: Run, tmp_path: Path) -> Iterator[Server]:
    served = Served(NETWORK, str(exported_file(run, "openvino", "fp32").resolve()), "openvino", 1, 1)
    names = write(tmp_path / "models", TASK, [served])
    with serving(tmp_path / "models", names, tmp_path / "triton.log") as running:
        yield running


def bench(*arguments: object) -> tuple[int, dict]:
    """The command's exit code and its bench.json."""
    result = CliRunner().invoke(app, ["bench", "gi-tract", *map(str, arguments), "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout[result.stdout.index("{") :])


def test_local_and_served_give_the_same_answers_and_ledgers_that_sum(run: Run, data: Path, tmp_path: Path):
    code, record = bench(data, "--run", run.path, "--quick", "--cases", 2, "--concurrency", 2, "--out", tmp_path)
    local, served = record["targets"]
    assert code == 0 and [local["name"], served["name"]] == ["openvino fp32, local", "openvino fp32, served"]
    assert local["answers"] == served["answers"] and len(local["answers"]) == 2
    assert local["scores"] == served["scores"]
    assert served["usage"]["peak_server_mib"] > 50 and local["usage"]["peak_server_mib"] == 0
    for target in record["targets"]:
        assert target["ledger"]["total_s"] == pytest.approx(target["ledger"]["median_s"], rel=0.03)
    stages = {row["stage"] for row in served["ledger"]["rows"]}
    assert {"read", "check", "decode", "segment", "answer", "queue", "tensor copies", "client", "transfer"} <= stages
    assert local["round_trip_s"] is None and record["runs"][0]["files"]
    assert record["runs"][0]["files"] == {"fp32.onnx": run.files["fp32.onnx"]["sha256"]}
    assert served["accuracy"]["score"]["cases"] == 1 and record["main"] == "score"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "bench.json", "report.md"}


def test_shared_memory_gives_the_same_answers_and_leaves_nothing_behind(run: Run, data: Path, tmp_path: Path):
    options = ("--quick", "--cases", 2, "--shared-memory", "--where", "served", "--concurrency", 2, "--out", tmp_path)
    code, record = bench(data, "--run", run.path, *options)
    wire, memory = record["targets"]
    assert code == 0 and memory["name"] == "openvino fp32, served, shared memory"
    assert wire["answers"] == memory["answers"] and len(wire["answers"]) == 2
    assert not list(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))


def test_networks_alone_are_measured_at_each_batch_size(run: Run, data: Path, tmp_path: Path):
    options = ("--quick", "--cases", 1, "--where", "local", "--batch", 1, "--batch", 3, "--out", tmp_path)
    code, record = bench(data, "--run", run.path, *options)
    assert code == 0 and [one["facts"]["batch"] for one in record["networks"]] == [1, 3]
    assert (
        "batch 3" in (tmp_path / "bench.json").read_text() and "items a second" in (tmp_path / "report.md").read_text()
    )


def test_without_asking_every_precision_is_served_and_the_other_engines_run_here(run: Run):
    names = [entry.name for entry in usual([run], quick=False)]
    assert names == ["openvino fp32, local", "openvino fp32, served", "onnxruntime fp32, local"]
    assert [entry.name for entry in usual([run], quick=True)] == names[:2]


def test_comparing_writes_junit(run: Run, data: Path, tmp_path: Path):
    options = (data, "--run", run.path, "--quick", "--cases", 2, "--where", "local")
    bench(*options, "--out", tmp_path / "a")
    code, record = bench(
        *options, "--out", tmp_path / "b", "--against", tmp_path / "a" / "bench.json", "--fail-on", "dice:-0.1%"
    )
    assert code == 0 and [check["verdict"] for check in record["against"]["checks"]] == ["ok"]
    assert 'failures="0"' in (tmp_path / "b" / "junit.xml").read_text()


def after_answers(server: Server, count: int, act: Callable[[], None]) -> None:
    """Do something to a server as soon as it has answered so often."""

    def answered() -> int:
        found = TritonModel(server.url, TASK.name).statistics()["model_stats"]
        return sum(int(entry["inference_count"]) for entry in found if entry["name"] == TASK.name)

    def watch() -> None:
        deadline = monotonic() + PATIENCE_S
        while answered() < count and monotonic() < deadline:
            sleep(0.01)
        act()

    Thread(target=watch, daemon=True).start()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_stops_answering_is_given_up_after_a_few_requests_and_the_report_says_so(
    server: Server, data: Path, tmp_path: Path, scheme: str
):
    address = server.url if scheme == "http" else f"grpc://127.0.0.1:{server.ports.grpc}"
    after_answers(server, 10, lambda: server.process.send_signal(SIGSTOP))
    try:
        options = ("--concurrency", 1, "--rate", 5, "--timeout", 3, "--out", tmp_path)
        code, record = bench(data, "--url", address, *options)
    finally:
        server.process.send_signal(SIGCONT)
    (target,) = record["targets"]
    errors = [timing["error"] for timing in target["serial"]["timings"]]
    assert code == 1 and len(errors) >= 8 and set(errors[:-PATIENCE]) <= {None, "timeout"}
    assert errors[-PATIENCE:] == ["timeout"] * PATIENCE and target["levels"] == [] and target["ledger"]
    said = f"{PATIENCE} requests in a row had no answer within 3 s: the rest was not measured"
    assert said in target["problems"]
    assert all(said in (tmp_path / name).read_text() for name in ("report.html", "report.md"))


def test_a_measurement_is_never_overwritten_and_the_limits_are_checked_first(run: Run, data: Path, tmp_path: Path):
    options = (data, "--run", run.path, "--quick", "--cases", 2, "--where", "local", "--out", tmp_path)
    bench(*options)
    before = (tmp_path / "bench.json").read_bytes()
    for more in ((), ("--against", tmp_path / "bench.json")):
        with pytest.raises(InputError, match=r"bench\.json exists.*choose another --out"):
            bench(*options, *more)
    assert (tmp_path / "bench.json").read_bytes() == before
    with pytest.raises(InputError, match=r"'cpm'.*expected one of p50, .*score, dice, hausdorff"):
        bench(*options[:-1], tmp_path / "b", "--against", tmp_path / "bench.json", "--fail-on", "cpm:-1%")
    assert not (tmp_path / "b").exists()


def test_a_server_killed_in_the_middle_is_in_the_report_and_the_exit_code(server: Server, data: Path, tmp_path: Path):
    after_answers(server, 6, server.process.kill)  # three before the rounds; the last one may not have arrived
    code, record = bench(data, "--url", server.url, "--cases", 2, "--concurrency", 1, "--out", tmp_path, "--timeout", 5)
    (target,) = record["targets"]
    assert code == 1 and any(timing["error"] is None for timing in target["serial"]["timings"])
    assert any("the server is starting" in problem for problem in target["problems"])
    assert "the server is starting" in (tmp_path / "report.html").read_text()


def test_a_precision_that_was_not_exported_is_a_problem_of_that_target_alone(run: Run, data: Path, tmp_path: Path):
    options = (data, "--run", run.path, "--quick", "--cases", 1, "--where", "local", "--out", tmp_path)
    code, record = bench(*options, "--precision", "fp32", "--precision", "int8")
    fine, missing = record["targets"]
    assert code == 1 and not fine["problems"]
    assert "no int8 .onnx file" in missing["problems"][0]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--engine", "tensorflow"),
        ("--where", "moon"),
        ("--rate", "0"),
        ("--rate", "1", "--arrivals", "never"),
        ("--url", "http://a:1"),
        ("--against", "none.json"),
        ("--fail-on", "p50"),
        ("--early-exit", "0.1"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence_before_anything_runs(
    run: Run, data: Path, tmp_path: Path, wrong: tuple
):
    with pytest.raises(MedsegError, match=r"expected|leave it out"):
        bench(data, "--run", run.path, "--out", tmp_path, *wrong)
    assert not list(tmp_path.iterdir())


def test_http_and_grpc_give_the_same_answers_and_server_ledgers(server: Server, data: Path, tmp_path: Path):
    address = f"grpc://127.0.0.1:{server.ports.grpc}"
    options = ("--quick", "--cases", 2, "--concurrency", 4, "--rate", 20, "--out", tmp_path)
    code, record = bench(data, "--url", server.url, "--url", address, *options)
    http, grpc = record["targets"]
    assert code == 0 and http["answers"] == grpc["answers"]
    report = (tmp_path / "report.md").read_text()
    for target in record["targets"]:
        assert [level["mode"] for level in target["levels"]] == ["closed", "poisson"]
        rows = {row["stage"]: row for row in target["ledger"]["rows"]}
        assert "queue" in rows and rows["segment"]["items"] == 1 and target["fan_out"] == {"gi-tract": 1}
        assert target["round_trip_s"] > 0 and target["client_s"] > 0
        assert rows["client"]["seconds"] >= 0  # 0 where Triton's clock saw no less than the client's
    assert report.count("an empty request to this server takes") == 2 and "sent late, p99" in report
    for name in ("report.md", "report.html"):
        assert "no hashes" in (tmp_path / name).read_text()
