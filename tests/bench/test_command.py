"""The whole command on a network small enough for a test: here, on the embedded server, and on one that is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from medseg.bench.lineup import usual
from medseg.bench.questions import made_up
from medseg.cli.main import app
from medseg.engines.runs import exported_file
from medseg.errors import MedsegError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.config import Served
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, free_ports, serving

TASK = task_named("gi-tract")
NETWORK = TASK.networks[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose network answers with its own input: what is bright is every organ."""
    shape = ["n", *NETWORK.input_shape]
    wires = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    graph = helper.make_graph(
        [helper.make_node("Sub", ["input", "half"], ["output"])], "copy", wires[:1], wires[1:], [half]
    )
    made = Run.create(tmp_path_factory.mktemp("run") / "copy", NETWORK.name, {}, {})
    with made.adding("fp32.onnx", {"precision": "fp32"}) as path:
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up(TASK, tmp_path_factory.mktemp("data") / "phantom")


@pytest.fixture
def server(run: Run, tmp_path: Path) -> Iterator[Server]:
    served = Served(NETWORK, str(exported_file(run, "openvino", "fp32").resolve()), "openvino", 1, 1)
    names = write(tmp_path / "models", TASK, [served])
    with serving(tmp_path / "models", names, free_ports(), tmp_path / "triton.log") as running:
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
    assert {"read", "check", "decode", "segment", "answer", "queue", "tensor copies", "transfer"} <= stages
    assert record["runs"][0]["files"] == {"fp32.onnx": run.files["fp32.onnx"]["sha256"]}
    assert served["accuracy"]["uw_score"]["cases"] >= 1 and next(iter(served["accuracy"])) == "uw_score"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "bench.json", "report.md"}


def test_shared_memory_gives_the_same_answers_and_leaves_nothing_behind(run: Run, data: Path, tmp_path: Path):
    before = set(Path("/dev/shm").glob("medseg-*"))
    options = ("--quick", "--cases", 2, "--shared-memory", "--where", "served", "--concurrency", 2, "--out", tmp_path)
    code, record = bench(data, "--run", run.path, *options)
    wire, memory = record["targets"]
    assert code == 0 and memory["name"] == "openvino fp32, served, shared memory"
    assert wire["answers"] == memory["answers"] and len(wire["answers"]) == 2
    assert set(Path("/dev/shm").glob("medseg-*")) <= before


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


def test_a_server_killed_in_the_middle_is_in_the_report_and_the_exit_code(server: Server, data: Path, tmp_path: Path):
    Timer(3.0, server.process.kill).start()
    code, record = bench(data, "--url", server.url, "--cases", 2, "--concurrency", 1, "--out", tmp_path, "--timeout", 5)
    (target,) = record["targets"]
    assert code == 1 and any(timing["error"] is None for timing in target["serial"]["timings"])
    assert any("does not answer" in problem for problem in target["problems"])
    assert "does not answer" in (tmp_path / "report.html").read_text()


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
    for target in record["targets"]:
        assert [level["mode"] for level in target["levels"]] == ["closed", "poisson"]
        assert "queue" in {row["stage"] for row in target["ledger"]["rows"]}
