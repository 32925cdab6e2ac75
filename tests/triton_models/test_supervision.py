"""`medseg serve` while a process of its server dies: what clients, readiness and stderr are told until it is back."""

import io
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
pytest.importorskip("openvino")
from tritonclient.utils import InferenceServerException

from benchmarks.ports import ANY_PORTS, told_ports
from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import TritonModel, served_pipeline
from medseg.errors import ServerError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.server import Ports
from tests.bench.runs import bright_run

TASK = task_named("gi-tract")
DECODE, NETWORK = "gi-tract-decode-step", "gi-tract-network"
UNAVAILABLE = {"grpc": "StatusCode.UNAVAILABLE", "http": "503"}


@dataclass
class Served:
    """`medseg serve`, ready, and the lines that it wrote to stderr so far."""

    process: subprocess.Popen[str]
    ports: Ports
    run: Run
    told: list[str] = field(default_factory=list)

    def asked(self, scheme: str, rows: int = 20) -> str:
        """The code of a request's refusal, "" where it is answered rightly."""
        port = self.ports.grpc if scheme == "grpc" else self.ports.http
        model = served_pipeline(f"{scheme}://127.0.0.1:{port}", TASK)
        try:
            mask = model.ask(_picture(rows), ("mask",))["mask"]
        except ServerError as error:
            assert isinstance(error.__cause__, InferenceServerException), error
            return str(error.__cause__.status())
        finally:
            model.close()
        assert mask.shape == (3, rows, rows * 3 // 2)
        return ""

    def ready(self, model: str = "") -> bool:
        """What the server says of itself, or of one model."""
        path = f"models/{model}/ready" if model else "health/ready"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.http}/v2/{path}", timeout=20) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def checked(self) -> int:
        """How many requests have passed the first step."""
        model = TritonModel(f"http://127.0.0.1:{self.ports.http}", TASK.name)
        stats = {one["name"]: int(one["inference_count"]) for one in model.statistics()["model_stats"]}
        model.close()
        return stats[f"{TASK.name}-check-step"]

    def family(self) -> list[psutil.Process]:
        """Tritonserver and its python processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, model: str) -> None:
        _process(self, model).kill()

    def tells(self, words: str) -> Callable[[], bool]:
        return lambda: any(words in line for line in self.told)


@cache
def _picture(rows: int) -> dict[str, np.ndarray]:
    """Noise, which no encoding makes small."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 2**16, (rows, rows * 3 // 2), np.uint16)
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    return {"encoded": encoded_tensor([file.getvalue()])}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    run = bright_run(folder / "bright", TASK.networks[0])
    command = [sys.executable, "-m", "medseg", "serve", TASK.name, "--run", str(run.path), *ANY_PORTS]
    command += ["--log", str(folder / "log")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    running, lines = Served(process, told_ports(process.stdout.readline()), run), process.stderr
    Thread(target=lambda: running.told.extend(iter(lines.readline, "")), daemon=True).start()
    yield running
    process.terminate()
    process.wait(PATIENCE_S)


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


@pytest.mark.parametrize("other", [None, b"exported again meanwhile"])
def test_a_model_that_does_not_load_again_is_told_and_tried_until_it_does(served: Served, other: bytes | None) -> None:
    file = served.run.path / "fp32.onnx"
    away = file.rename(file.with_suffix(".away"))
    if other:
        file.write_bytes(other)
    served.kill(NETWORK)
    why = "its bytes changed since the server was started" if other else "cannot be read (No such file or directory)"
    assert _await(served.tells(f"fp32.onnx{':' if other else ''} {why}")), served.told
    assert any(f"model {NETWORK} did not load: " in line for line in served.told)
    assert {scheme: served.asked(scheme) for scheme in UNAVAILABLE} == UNAVAILABLE
    assert not served.ready() and not served.ready(NETWORK) and not served.ready(TASK.name) and served.ready(DECODE)
    away.rename(file)
    assert _await(served.tells(f"model {NETWORK} is back"))
    assert served.asked("grpc") == "" and served.ready()


def _process(served: Served, what: str) -> psutil.Process:
    """tritonserver, the front, or a model's process."""
    living = (one for one in served.family() if one.status() != psutil.STATUS_ZOMBIE)
    marks = {"tritonserver": "bin/tritonserver", "front": "medseg.triton_models.front"}
    return next(one for one in living if marks.get(what, f"/{what}/1/model.py") in " ".join(one.cmdline()))


FREEZING = {
    DECODE: (f"a process of model {DECODE} gave no sign of life", f"model {DECODE} is back"),
    NETWORK: (f"a process of model {NETWORK} gave no sign of life", f"model {NETWORK} is back"),
    "front": ("the front gave no sign of life", "the front is back after"),
    "tritonserver": ("tritonserver gave no sign of life", "tritonserver is back"),
}


@pytest.mark.parametrize("what", FREEZING)
def test_a_stopped_process_is_replaced_like_a_dead_one(served: Served, what: str) -> None:
    _process(served, what).send_signal(signal.SIGSTOP)
    for words in FREEZING[what]:
        assert _await(served.tells(words)), served.told
    assert _await(lambda: served.asked("grpc") == "" and served.asked("http") == "")
    assert served.ready() and "CUDA" not in "".join(served.told)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_who_waits_at_a_dead_process_is_answered_by_the_next_one_however_large_the_request(
    served: Served, scheme: str
) -> None:
    rows, checked = 1800, served.checked()
    assert len(_picture(rows)["encoded"][0]) > 9 << 20
    _process(served, DECODE).send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.asked, scheme, rows)
        assert _await(lambda: served.checked() > checked) and not waiting.done()
        served.kill(DECODE)
        assert waiting.result(PATIENCE_S) == ""


def test_a_server_that_crashes_is_started_again_and_keeps_its_ports(served: Served) -> None:
    assert served.asked("grpc") == ""
    old = _process(served, "tritonserver")
    old.send_signal(signal.SIGSEGV)
    assert _await(served.tells("tritonserver ended by signal SIGSEGV; it is started again")), served.told
    assert served.asked("http") in ("503", "")
    assert _await(served.tells("tritonserver is back after"))
    assert served.asked("grpc") == "" and served.asked("http") == "" and served.ready()
    assert re.search("Traceback", "".join(served.told)) is None and not old.is_running()


def test_it_ends_as_before_when_it_is_asked_to(served: Served) -> None:
    """The last test of this file: nothing is served any more."""
    family, memory = served.family(), f"medseg*_{served.process.pid}_*"
    assert list(Path("/dev/shm").glob(memory))
    served.process.terminate()
    assert served.process.wait(PATIENCE_S) == 0
    assert not any(one.is_running() for one in family)
    assert not list(Path("/dev/shm").glob(memory))
