"""A soak: `medseg serve gi-tract` under mixed load and kills; what was answered, how soon it was back, what grew.

    python -m benchmarks.soak --requests 100000 --out soak.json

Of a hundred requests 80 are small pictures whose answer is known, 8 are damaged, 6 malformed and 6 cancelled. Ten times
in between a process is killed or stopped. Everything stays on loopback; it ends after --requests or --minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread

import numpy as np
import psutil
from PIL import Image
from tritonclient import grpc as triton_grpc

from medseg.data.encoded import encoded_tensor
from medseg.data.framing import framed
from medseg.engines.runs import opened
from medseg.engines.triton import TritonModel, served_pipeline
from medseg.errors import InputError, ServerError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.server import Ports, free_ports
from tests.bench.runs import bright_run

TASK = task_named("gi-tract")
AT_ONCE, TIMEOUT_S, BACK_S = 8, 30.0, 120.0
READINGS = 20  # of memory
KILLS = (
    ("gi-tract-answer-step", signal.SIGKILL),
    ("gi-tract-decode-step", signal.SIGKILL),
    ("gi-tract-network", signal.SIGKILL),
    ("tritonserver", signal.SIGKILL),
    ("gi-tract-decode-step", signal.SIGSTOP),
    ("front", signal.SIGKILL),
    ("gi-tract-check-step", signal.SIGKILL),
    ("tritonserver", signal.SIGSEGV),
    ("gi-tract-network", signal.SIGSTOP),
)


@dataclass
class Recovery:
    """A process that was killed or stopped: seconds until a fresh client had a right answer, and what serve said."""

    process: str
    how: str
    seconds: float
    said: list[str]


@dataclass
class Soak:
    """What happened so far, and what is known of the right answers."""

    ports: Ports
    pictures: Sequence[tuple[bytes, np.ndarray]]  # encoded, and its mask
    outcomes: Counter[str] = field(default_factory=Counter)
    recoveries: list[Recovery] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)  # of each process, in MB
    _lock: Lock = field(default_factory=Lock)
    done: int = 0
    struck: bool = False  # a process is away: requests go on, beside the number asked for

    def count(self, outcome: str) -> None:
        """One more request has ended like this."""
        with self._lock:
            self.outcomes[outcome] += 1
            self.done += not self.struck


def pictures(run: Run, count: int = 12) -> list[tuple[bytes, np.ndarray]]:
    """Pictures of several small sizes, each with the mask that the pipeline gives in this process."""
    rng, made = np.random.default_rng(1), []
    with opened([run], "openvino", "fp32") as networks:
        for _ in range(count):
            height, width = rng.integers(40, 120, 2)
            coarse = Image.fromarray(rng.integers(0, 2**16, (6, 6), np.uint16).astype(np.int32), "I")
            smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 65535)
            file = io.BytesIO()
            Image.fromarray(smooth.astype(np.uint16)).save(file, "PNG")
            tensors = {"encoded": encoded_tensor([file.getvalue()])}
            made.append((file.getvalue(), TASK.pipeline(tensors, networks)["mask"]))
    return made


class Client:
    """One of those who ask at the same time."""

    def __init__(self, soak: Soak, seed: int) -> None:
        self._soak, self._dice = soak, random.Random(seed)
        address = f"127.0.0.1:{soak.ports.grpc}"
        urls = (f"grpc://{address}", f"http://127.0.0.1:{soak.ports.http}")
        self._models = [served_pipeline(url, TASK, timeout_s=TIMEOUT_S) for url in urls]
        self._raw = triton_grpc.InferenceServerClient(address)

    def ask(self) -> None:
        """One request of the mixture."""
        roll = self._dice.random() * 100
        kind = (
            self._right if roll < 80 else self._damaged if roll < 88 else self._malformed if roll < 94 else self._left
        )
        self._soak.count(kind())

    def _right(self) -> str:
        """A picture is asked for until it is answered; "lost" where that does not come to be."""
        data, mask = self._dice.choice(self._soak.pictures)
        until = time.monotonic() + BACK_S
        while time.monotonic() < until:
            try:
                found = self._dice.choice(self._models).ask({"encoded": encoded_tensor([data])}, ("mask",))["mask"]
            except ServerError:
                time.sleep(0.2)
                continue
            return "right" if alike(found, mask) else "WRONG"
        return "LOST"

    def _damaged(self) -> str:
        data = bytearray(self._dice.choice(self._soak.pictures)[0])
        for _ in range(8):
            data[self._dice.randrange(len(data))] ^= 1 << self._dice.randrange(8)
        cut = bytes(data[: self._dice.randrange(len(data) // 2, len(data))])
        return self._refused(lambda model: model.ask({"encoded": encoded_tensor([cut])}, ("mask",)))

    def _malformed(self) -> str:
        tensors = self._dice.choice([np.zeros(3, np.uint8), np.full(40, 255, np.uint8), np.zeros((2, 2), np.float32)])
        return self._refused(lambda model: model.ask({"encoded": tensors}, ("mask",)))

    def _refused(self, ask: Callable[[TritonModel], object]) -> str:
        try:
            ask(self._dice.choice(self._models))
        except InputError:
            return "refused"
        except ServerError as error:
            return "away" if "internal error" not in str(error) else "INTERNAL"
        return "ACCEPTED"

    def _left(self) -> str:
        data = framed(encoded_tensor([self._dice.choice(self._soak.pictures)[0]]))
        encoded = triton_grpc.InferInput("encoded", list(data.shape), "UINT8")
        encoded.set_data_from_numpy(data)
        over = Event()
        call = self._raw.async_infer(TASK.name, [encoded], lambda **_: over.set(), client_timeout=TIMEOUT_S)
        time.sleep(self._dice.random() * 0.05)
        call.cancel()
        return "cancelled" if over.wait(TIMEOUT_S + 5) else "LOST"


def alike(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a mask is the right one: DALI's values differ from the plain functions' by less than one in 10,000."""
    return found.shape == expected.shape and np.mean(found != expected) < 0.005


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Soak, list[str]]]:
    """`medseg serve`, ready, and the lines that it writes to stderr."""
    run, ports = bright_run(folder / "run", TASK.networks[0]), free_ports()
    numbers = [f"--{name}-port={port}" for name, port in asdict(ports).items()]
    command = [sys.executable, "-m", "medseg", "serve", TASK.name, "--run", str(run.path), *numbers]
    process = subprocess.Popen(
        [*command, "--log", str(folder / "log")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr and "serving" in process.stdout.readline()
    lines, told = process.stderr, list[str]()
    Thread(target=lambda: told.extend(iter(lines.readline, "")), daemon=True).start()
    try:
        yield process, Soak(ports, pictures(run)), told
    finally:
        process.terminate()
        process.wait(60)


def family(serve: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The living processes behind `medseg serve`, by name; instances of one network are numbered."""
    found: dict[str, psutil.Process] = {"serve": psutil.Process(serve.pid)}
    for child in found["serve"].children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:
            continue
        name = next((part.split("/")[-3] for part in words.split() if part.endswith("/1/model.py")), "")
        name = name or ("front" if "triton_models.front" in words else child.name())
        while words and name in found:
            name += "+"
        if words:
            found[name] = child
    return found


def note_memory(soak: Soak, serve: subprocess.Popen[str]) -> None:
    """Add every process's own memory, without what it shares with others, in MB."""
    for name, process in family(serve).items():
        try:
            soak.memory.setdefault(f"{name} {process.pid}", []).append(process.memory_full_info().uss / 1e6)
        except psutil.Error:
            continue


def strike(soak: Soak, serve: subprocess.Popen[str], told: list[str], victim: tuple[str, signal.Signals]) -> None:
    """Kill or stop one process, and wait until a fresh client is answered rightly."""
    name, how = victim
    before, started = len(told), time.monotonic()
    soak.struck = True
    family(serve)[name].send_signal(how)
    (data, mask), seconds = soak.pictures[0], float("inf")
    while time.monotonic() < started + BACK_S and seconds == float("inf"):
        model = served_pipeline(f"grpc://127.0.0.1:{soak.ports.grpc}", TASK, timeout_s=BACK_S)
        try:
            found = model.ask({"encoded": encoded_tensor([data])}, ("mask",))["mask"]
            # of a stopped process, or one of two instances, only what serve says tells that it was missed
            if alike(found, mask) and any("back" in line or "opened again" in line for line in told[before:]):
                seconds = time.monotonic() - started
        except ServerError:
            pass
        finally:
            model.close()
        time.sleep(0.05)
    soak.struck = False
    soak.recoveries.append(Recovery(name, how.name, round(seconds, 2), [line.strip() for line in told[before:]]))


def run(requests: int, minutes: float, folder: Path, kills: bool) -> Soak:
    """The whole soak."""
    with served(folder) as (serve, soak, told), ThreadPoolExecutor(AT_ONCE) as pool:
        until = time.monotonic() + minutes * 60

        def asking(seed: int) -> None:
            client = Client(soak, seed)
            while soak.done < requests and time.monotonic() < until and serve.poll() is None:
                client.ask()

        askers = [pool.submit(asking, seed) for seed in range(AT_ONCE)]
        for share in range(1, READINGS + 1):
            while soak.done < requests * share / READINGS and not all(asker.done() for asker in askers):
                time.sleep(0.1)
            note_memory(soak, serve)
            if kills and share % 2 == 0 and share < READINGS and not all(asker.done() for asker in askers):
                strike(soak, serve, told, KILLS[(share // 2 - 1) % len(KILLS)])
        for asker in askers:
            asker.result()
    return soak


def growth(readings: Sequence[float]) -> float | None:
    """By how much of its level a process grew, from its third reading on: after the first tenth of the requests."""
    return readings[-1] / readings[2] - 1 if len(readings) > 3 else None


def table(soak: Soak) -> str:
    """Outcomes, recoveries and memory for reading."""
    lines = [f"{count:8} {outcome}" for outcome, count in sorted(soak.outcomes.items())]
    lines += [f"{one.process:24} {one.how:8} right again after {one.seconds} s" for one in soak.recoveries]
    for name, readings in soak.memory.items():
        grown = growth(readings)
        shown = " ".join(f"{value:.0f}" for value in readings)
        lines.append(f"{name:32} {'' if grown is None else f'{grown:+.1%}':8} MB: {shown}")
    return "\n".join(lines)


def main() -> None:
    """Run the soak, print its table, write its numbers; exit code 1 where an answer was wrong or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=600.0, help="the most that it may take")
    parser.add_argument("--no-kills", action="store_true", help="the mixture alone: then memory is each process's own")
    parser.add_argument("--out", type=Path, help="where the numbers go, as JSON")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="medseg-soak-") as folder:
        soak = run(asked.requests, asked.minutes, Path(folder), not asked.no_kills)
    found = {
        "outcomes": soak.outcomes,
        "memory_mb": soak.memory,
        "recoveries": [asdict(one) for one in soak.recoveries],
    }
    print(table(soak))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(any(outcome.isupper() for outcome in soak.outcomes))


if __name__ == "__main__":
    main()
