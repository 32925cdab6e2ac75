"""`medseg serve` while a process of its server dies: what clients, readiness and stderr are told until it is back."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")
from tritonclient.utils import InferenceServerException

from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import served_pipeline
from medseg.errors import ServerError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.server import Ports, free_ports
from tests.bench.runs import bright_run
from tests.dali_pipelines.damage import grey16

TASK = task_named("gi-tract")
DECODE, NETWORK = "gi-tract-decode-step", "gi-tract-network"
PICTURE = {"encoded": encoded_tensor([grey16(20, 30)])}
UNAVAILABLE = {"grpc": "StatusCode.UNAVAILABLE", "http": "503"}
PATIENCE_S = 120  # no promise of ours, but an end to waiting


@dataclass
class Served:
    """`medseg serve`, ready, and the lines that it wrote to stderr so far."""

    process: subprocess.Popen[str]
    ports: Ports
    run: Run
    told: list[str] = field(default_factory=list)

    def asked(self, scheme: str) -> str:
        """The code of a request's refusal, "" where it is answered rightly."""
        port = self.ports.grpc if scheme == "grpc" else self.ports.http
        model = served_pipeline(f"{scheme}://127.0.0.1:{port}", TASK)
        try:
            mask = model.ask(PICTURE, ("mask",))["mask"]
        except ServerError as error:
            assert isinstance(error.__cause__, InferenceServerException), error
            return str(error.__cause__.status())
        finally:
            model.close()
        assert mask.shape == (3, 20, 30)
        return ""

    def ready(self, model: str = "") -> bool:
        """What the server says of itself, or of one model."""
        path = f"models/{model}/ready" if model else "health/ready"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.http}/v2/{path}", timeout=20) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def family(self) -> list[psutil.Process]:
        """Tritonserver and its python processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, model: str) -> None:
        living = (one for one in self.family() if one.status() != psutil.STATUS_ZOMBIE)
        next(one for one in living if f"/{model}/1/model.py" in " ".join(one.cmdline())).kill()

    def tells(self, words: str) -> Callable[[], bool]:
        return lambda: any(words in line for line in self.told)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, ports = tmp_path_factory.mktemp("served"), free_ports()
    run = bright_run(folder / "bright", TASK.networks[0])
    options = [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]
    command = [sys.executable, "-m", "medseg", "serve", TASK.name, "--run", str(run.path), *options]
    command += ["--log", str(folder / "log")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr and "serving gi-tract at" in process.stdout.readline()
    running, lines = Served(process, ports, run), process.stderr
    Thread(target=lambda: running.told.extend(iter(lines.readline, "")), daemon=True).start()
    yield running
    process.terminate()
    process.wait(60)


@pytest.fixture(autouse=True)
def _forget(served: Served) -> None:
    served.told.clear()


def _await(true: Callable[[], bool]) -> bool:
    """Whether this became true before all patience was lost: a busy machine takes its time."""
    until = time.monotonic() + PATIENCE_S
    while not (done := true()) and time.monotonic() < until:
        time.sleep(0.02)
    return done


Seen = list[tuple[float, float, object]]  # when it was asked, when answered, and what was answered


def _again_and_again(ask: Callable[[], object], seen: Seen, done: Event) -> None:
    """Ask every 50 ms; no question waits for the one before."""

    def once() -> None:
        asked = time.monotonic()
        answer = ask()
        seen.append((asked, time.monotonic(), answer))

    with ThreadPoolExecutor(20) as pool:
        futures = []
        while not done.is_set():
            futures.append(pool.submit(once))
            time.sleep(0.05)
        pool.shutdown(cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_killed_process_is_replaced_and_meanwhile_everybody_is_told(served: Served, scheme: str) -> None:
    assert served.asked(scheme) == "" and served.ready()
    answers: Seen = []
    ready: Seen = []
    done = Event()
    asking = [
        Thread(target=_again_and_again, args=(lambda: served.asked(scheme), answers, done)),
        Thread(target=_again_and_again, args=(lambda: served.ready() or served.ready(DECODE), ready, done)),
    ]
    for thread in asking:
        thread.start()
    served.kill(DECODE)
    is_back = _await(served.tells(f"model {DECODE} is back"))
    done.set()
    for thread in asking:
        thread.join()

    assert is_back and served.told[0].strip() == f"a process of model {DECODE} died; the model is loaded again"
    gone = [(asked, answered) for asked, answered, is_ready in ready if not is_ready]
    assert gone, "the server called itself ready throughout"
    noticed, last = min(answered for _, answered in gone), max(asked for asked, _ in gone)
    assert all(not is_ready for asked, answered, is_ready in ready if noticed < asked and answered < last)
    meanwhile = {code for asked, answered, code in answers if noticed < asked and answered < last}
    assert meanwhile == {UNAVAILABLE[scheme]}  # nobody was answered while the server called itself not ready
    assert {code for asked, _, code in answers if asked > noticed} <= {UNAVAILABLE[scheme], ""}
    assert served.asked(scheme) == "" and served.ready() and served.ready(DECODE)


def test_a_model_that_does_not_load_again_is_told_and_tried_until_it_does(served: Served) -> None:
    file = served.run.path / "fp32.onnx"
    away = file.rename(file.with_suffix(".away"))
    served.kill(NETWORK)
    assert _await(served.tells(f"model {NETWORK} did not load: "))
    assert {scheme: served.asked(scheme) for scheme in UNAVAILABLE} == UNAVAILABLE
    assert not served.ready() and not served.ready(NETWORK) and not served.ready(TASK.name) and served.ready(DECODE)
    away.rename(file)
    assert _await(served.tells(f"model {NETWORK} is back"))
    assert served.asked("grpc") == "" and served.ready()


def test_a_server_that_crashes_is_told_and_leaves_nothing(served: Served) -> None:
    """The last test of this file: nothing is served any more."""
    family, memory = served.family(), f"medseg_{served.process.pid}_*"
    assert list(Path("/dev/shm").glob(memory))
    next(one for one in family if one.name() == "tritonserver").kill()
    assert served.process.wait(PATIENCE_S) != 0
    assert _await(served.tells("tritonserver ended by itself with code -9"))
    assert re.search("Traceback", "".join(served.told)) is None
    assert not any(one.is_running() for one in family)
    assert not list(Path("/dev/shm").glob(memory))
