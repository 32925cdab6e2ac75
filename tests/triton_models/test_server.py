"""The real tritonserver: whole answers, errors that stay alone, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
from tritonclient.utils import InferenceServerException

from benchmarks.ports import ANY_PORTS, free_port
from medseg.api.predictor import open_predictor
from medseg.data.upright import orientation_of
from medseg.engines.runs import exported_file, made_by, opened
from medseg.engines.shared_memory import PREFIX
from medseg.engines.triton import TritonModel, is_local, served_pipeline
from medseg.errors import InputError, ServerError
from medseg.run import Run
from medseg.task import Geometry, Tensors
from medseg.tasks import task_named
from medseg.tasks.luna import TASK
from medseg.tasks.luna.pieces import labels
from medseg.tasks.luna.pipeline import geometry_tensor
from medseg.triton_models.config import Served
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving
from medseg.triton_models.stubs import processes
from medseg.triton_models.watch import watch
from tests.bench.runs import bright_run
from tests.data import oriented


def _served(runs: list[Run]) -> list[Served]:
    return [
        Served(TASK.network(run.network), str(exported_file(run, "openvino", "fp32")), "openvino", 2, 1) for run in runs
    ]


@pytest.fixture(scope="module")
def server(luna_runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    about = made_by(luna_runs, "openvino", "fp32")
    names = write(folder / "models", TASK, _served(luna_runs), made_by=about)
    with serving(folder / "models", names, folder / "triton.log") as running:
        yield running


def _ct(seed: int = 0) -> Tensors:
    ct = np.random.default_rng(seed).integers(-1000, 1000, (9, 64, 72)).astype(np.int16)
    return {"ct": ct, "geometry": geometry_tensor(Geometry((1.0, 1.0, 2.0))), "threshold": np.zeros(1, np.float32)}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_the_ensemble_answers_as_the_local_pipeline(server: Server, luna_runs: list[Run], scheme: str) -> None:
    port = server.ports.http if scheme == "http" else server.ports.grpc
    model = served_pipeline(f"{scheme}://127.0.0.1:{port}", TASK)
    with opened(luna_runs, "openvino", "fp32") as networks:
        for seed in range(2):
            local, remote = TASK.pipeline(_ct(seed), networks), model.ask(_ct(seed), TASK.pipeline.outputs)
            assert len(local["nodules"]) > 0
            for name in TASK.pipeline.outputs:
                if name == "notes":
                    assert remote[name].tolist() == local[name].tolist()
                else:
                    np.testing.assert_allclose(remote[name], local[name], rtol=1e-5, atol=1e-6)
    model.close()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_client_is_told_which_runs_answer(server: Server, luna_runs: list[Run], scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{server.ports.http if scheme == 'http' else server.ports.grpc}"
    with open_predictor("luna", url=url) as predictor:
        about = predictor.made_by
    assert about["server"] == url and about["served"] == made_by(luna_runs, "openvino", "fp32")
    assert [run["network"] for run in about["served"]["runs"]] == [run.network for run in luna_runs]


def test_any_output_may_be_asked_alone(server: Server) -> None:
    model = TritonModel(server.url, "luna")
    assert set(model.ask(_ct(), ("mask",))) == {"mask"}
    assert model.ask(_ct(), ("nodules",))["nodules"].shape[1] == 9
    model.close()


def test_the_same_ct_however_it_is_stored_has_the_same_served_answer(server: Server) -> None:
    """Nodules where they are in the patient, and every voxel of them, on the request's own grid."""
    model, where = served_pipeline(server.url, TASK), Geometry((0.9, 1.1, 2.0), (-5.0, 6.0, 7.0))
    request = _ct() | {"geometry": geometry_tensor(where)}
    upright = model.ask(request, TASK.pipeline.outputs)
    wanted = labels(upright["mask"], request["ct"].shape)
    assert len(upright["nodules"]) > 1
    for _, axes, steps in [*oriented.orders()][4::13]:
        array, geometry = oriented.stored(request["ct"], where, axes, steps)
        turned = model.ask(request | {"ct": array, "geometry": geometry_tensor(geometry)}, TASK.pipeline.outputs)
        assert np.abs(turned["nodules"][:, :3] - upright["nodules"][:, :3]).max() < 0.01
        found, back = labels(turned["mask"], array.shape), orientation_of(geometry)
        assert np.array_equal(back.seen(found), wanted)
    model.close()


def test_a_network_is_an_engine(server: Server) -> None:
    model = TritonModel(server.url, "luna-nodule-network")
    assert model(np.zeros((3, 1, 32, 48, 48), np.float32)).shape == (3, 2)
    model.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"geometry": np.zeros(15)}, r"starts with spacing \[0.0, 0.0, 0.0\] mm; expected"),
        ({"roi": np.array([9], np.uint8)}, "tensor 'roi' is 9; expected 0 to 1"),
        ({"ct": np.zeros((9, 64), np.int16)}, "expected|Expected|expects"),
        ({"ct": np.zeros((9, 64, 72), np.float32)}, "INT16|int16"),
        ({"geometry": np.zeros(3)}, r"\[15\]|15"),
        ({"ct": np.zeros((4097, 4, 4), np.int16)}, r"tensor 'ct' has shape \(4097, 4, 4\); expected \(4 to 4096"),
    ],
)
def test_a_bad_request_is_refused_and_the_server_goes_on(server: Server, change: Tensors, message: str) -> None:
    model = TritonModel(server.url, "luna")
    with pytest.raises(InputError, match=message):
        model.ask(_ct() | change, ("nodules",))
    assert model.ask(_ct(), ("nodules",))["nodules"].ndim == 2
    model.close()


def test_one_bad_request_among_many_fails_alone(server: Server) -> None:
    model = TritonModel(f"grpc://127.0.0.1:{server.ports.grpc}", "luna")

    def ask(number: int) -> object:
        bad = {"geometry": np.zeros(15)} if number == 3 else {}
        try:
            return model.ask(_ct(number) | bad, ("nodules",))["nodules"].shape
        except InputError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert isinstance(answers[3], InputError)
    assert all(isinstance(answer, tuple) for number, answer in enumerate(answers) if number != 3)
    model.close()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_large_ct_goes_through_shared_memory_and_small_tensors_do_not(
    server: Server, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.ports.http if scheme == "http" else server.ports.grpc
    url, large = (
        f"{scheme}://127.0.0.1:{port}",
        _ct() | {"ct": np.tile(np.arange(-1000, 0, 250, dtype=np.int16), (20, 256, 32))},
    )
    assert is_local(url) and not is_local("grpc://10.0.0.5:8001")
    plain, shared = served_pipeline(url, TASK), served_pipeline(url, TASK, None)
    mega = 1 << 20
    for tensors, kept, regions in ((_ct(), 8, 0), (large, 8, 1), (_ct(1), 8, 1), (large, 1, 0), (large, 8, 1)):
        monkeypatch.setattr("medseg.engines.shared_memory.KEPT_BYTES", kept * mega)
        found, expected = shared.ask(tensors, ("mask",))["mask"], plain.ask(tensors, ("mask",))["mask"]
        assert np.array_equal(found, expected)
        assert len(list(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))) == regions
    plain.close()
    shared.close()
    assert not list(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))


def test_memory_does_not_grow_with_repeated_requests(server: Server) -> None:
    model = TritonModel(server.url, "luna")

    def megabytes() -> float:
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
        return sum(one.memory_full_info().pss for one in family) / 1e6

    for _ in range(4):
        model.ask(_ct(), ("nodules",))
    before = megabytes()
    for _ in range(12):
        model.ask(_ct(), ("nodules",))
    assert megabytes() < before + 30
    model.close()


def test_a_missing_server_is_said() -> None:
    with pytest.raises(ServerError, match="does not answer"):
        TritonModel(f"http://127.0.0.1:{free_port()}", "luna").ask(_ct(), ("nodules",))
    with pytest.raises(InputError, match="expected http://HOST:PORT"):
        TritonModel("localhost", "luna")


def test_a_model_that_does_not_load_is_said_with_the_logs_reason(luna_runs: list[Run], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    files = {"luna-segment": luna_runs[0].held("fp32.onnx"), "luna-nodule": broken}
    served = [Served(TASK.network(name), str(file), "openvino", 1, 1) for name, file in files.items()]
    names = write(tmp_path / "models", TASK, served)
    start = serving(tmp_path / "models", names, tmp_path / "triton.log")
    with pytest.raises(ServerError, match=r"(?i)openvino.* cannot open .*broken.onnx"), start:
        pass


def _watch(server: Server, tell: Callable[[str], None]) -> None:
    with suppress(ServerError):  # raised when the fixture stops the server
        watch(server, tell)


def test_a_killed_process_is_replaced_and_meanwhile_requests_wait_or_are_refused(server: Server) -> None:
    """What happened is told; who waits longer than the next process takes is refused, with the model's name."""
    told: list[str] = []
    before = processes(server)
    victim = "luna-nodule-network"
    stubs = psutil.Process(server.process.pid).children()
    next(stub for stub in stubs if victim in " ".join(stub.cmdline())).kill()  # before anybody watches
    threading.Thread(target=_watch, args=(server, told.append), daemon=True).start()
    model = TritonModel(server.url, "luna")
    started, refused = time.monotonic(), []
    while time.monotonic() < started + 120 and not any("is back" in line for line in told):
        try:
            model.ask(_ct(), ("nodules",))
        except ServerError as error:
            refused.append((str(error), error.__cause__))
        time.sleep(0.1)
    assert told[0] == f"a process of model {victim} died; the model is loaded again"
    assert "is back" in told[1] and float(told[1].split()[-2]) > 0
    assert all(victim in words for words, _ in refused)
    codes = {cause.status() for _, cause in refused if isinstance(cause, InferenceServerException)}
    assert codes <= {"503"}  # also of who met the dead process: LUNA's steps call their networks themselves
    assert len(model.ask(_ct(), ("nodules",))["nodules"]) > 0
    assert processes(server) == before
    model.close()


@pytest.mark.parametrize(
    ("how", "front_too"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGKILL, False), (signal.SIGKILL, True)],
)
def test_serve_leaves_no_process_and_no_memory_behind(
    tmp_path: Path, how: signal.Signals, front_too: bool, request: pytest.FixtureRequest
) -> None:
    """Stopped or killed: tritonserver and its stubs end, and nothing stays in /dev/shm.

    Where the front, which sees to that, is killed with it, what stays goes when the next server starts.
    """
    run = bright_run(tmp_path / "run", task_named("gi-tract").networks[0]).path
    words = ["gi-tract", f"--run={run}", "--decoder=reference", *ANY_PORTS, f"--log={tmp_path / 'log'}"]
    command = [sys.executable, "-m", "medseg", "serve", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    request.addfinalizer(process.kill)  # where this test fails, it leaves nothing behind either
    assert process.stdout is not None and "serving gi-tract at" in process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("tritonserver" in one.name() for one in family)
    if front_too:
        next(one for one in family if "medseg.triton_models.front" in " ".join(one.cmdline())).kill()
    process.send_signal(how)
    code = process.wait(PATIENCE_S)
    assert code == (-how if how == signal.SIGKILL else 0)
    deadline = time.monotonic() + PATIENCE_S
    while (alive := [one for one in family if _runs(one)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive
    if front_too:
        with serving(tmp_path, [], tmp_path / "next"):
            pass
    # the front goes with its files, unless a server that another test starts ends it and removes them in its stead
    while (left := list(Path("/dev/shm").glob(f"medseg*_{process.pid}_*"))) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    assert (tmp_path / "log").stat().st_size > 0


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
