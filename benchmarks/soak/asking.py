"""The clients: they send pictures whose answer is known, and damaged, malformed and cancelled requests."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock

import numpy as np
from PIL import Image
from tritonclient import grpc as triton_grpc

from medseg.data.byte_strings import framed
from medseg.data.encoded import encoded_tensor
from medseg.engines.runs import opened
from medseg.engines.triton import TritonModel, served_pipeline
from medseg.errors import InputError, ServerError
from medseg.run import Run
from medseg.tasks import task_named
from medseg.triton_models.server import Ports

TASK = task_named("gi-tract")
AT_ONCE, TIMEOUT_S, BACK_S = 8, 30.0, 120.0
SMALL, LARGE = (40, 120), (4000, 4001)  # pixels along an edge
Picture = tuple[bytes, np.ndarray]  # encoded, and its mask


@dataclass
class Asked:
    """The requests so far with their outcomes, and the pictures with their right answers."""

    ports: Ports
    pictures: Sequence[Picture]
    large: Sequence[Picture]
    outcomes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)  # what clients were told that may try again
    done: int = 0
    beside: bool = False  # a process is away, or large pictures are sent: such requests do not count as `done`
    going: Event = field(default_factory=Event)  # cleared while memory is read
    _lock: Lock = field(default_factory=Lock)

    def count(self, outcome: str) -> None:
        """Count a request with this outcome."""
        with self._lock:
            self.outcomes[outcome] += 1
            self.done += not self.beside

    def note(self, error: ServerError) -> None:
        """Keep what a client was told, which may try again."""
        with self._lock:
            self.troubles[str(error)] += 1


def pictures(run: Run, count: int, edge: tuple[int, int]) -> list[Picture]:
    """Pictures of several sizes, each with its mask from the pipeline in this process; `edge` bounds their sides."""
    rng, made = np.random.default_rng(1), []
    with opened([run], "openvino", "fp32") as networks:
        for _ in range(count):
            height, width = rng.integers(*edge, 2)
            coarse = Image.fromarray(rng.integers(0, 2**16, (6, 6), np.uint16).astype(np.int32), "I")
            smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 65535)
            file = io.BytesIO()
            Image.fromarray(smooth.astype(np.uint16)).save(file, "PNG")
            tensors = {"encoded": encoded_tensor([file.getvalue()])}
            made.append((file.getvalue(), TASK.pipeline(tensors, networks)["mask"]))
    return made


def alike(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a mask is right. A few pixels may differ, as DALI's values differ by up to 1e-4 from the functions'."""
    return found.shape == expected.shape and np.mean(found != expected) < 0.005


class Client:
    """One of the clients that send requests at the same time."""

    def __init__(self, asked: Asked, seed: int) -> None:
        self._asked, self._dice = asked, random.Random(seed)
        address = f"127.0.0.1:{asked.ports.grpc}"
        urls = (f"grpc://{address}", f"http://127.0.0.1:{asked.ports.http}")
        self._models = [served_pipeline(url, TASK, timeout_s=TIMEOUT_S) for url in urls]
        self._raw = triton_grpc.InferenceServerClient(address)

    def ask(self) -> None:
        """Send one request of the mixture."""
        roll = self._dice.random() * 100
        kind = (
            self._right if roll < 80 else self._damaged if roll < 88 else self._malformed if roll < 94 else self._left
        )
        self._asked.count(kind())

    def ask_large(self) -> None:
        """Send one large picture."""
        self._asked.count(self._answered(*self._dice.choice(self._asked.large)))

    def _right(self) -> str:
        return self._answered(*self._dice.choice(self._asked.pictures))

    def _answered(self, data: bytes, mask: np.ndarray) -> str:
        """Send a picture again and again until it is answered; "LOST" if that takes too long."""
        until = time.monotonic() + BACK_S
        while time.monotonic() < until:
            try:
                found = self._dice.choice(self._models).ask({"encoded": encoded_tensor([data])}, ("mask",))["mask"]
            except ServerError as error:
                self._asked.note(error)
                time.sleep(0.2)
                continue
            return "right" if alike(found, mask) else "WRONG"
        return "LOST"

    def _damaged(self) -> str:
        data = bytearray(self._dice.choice(self._asked.pictures)[0])
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
            self._asked.note(error)
            return "away" if "internal error" not in str(error) else "INTERNAL"
        return "ACCEPTED"

    def _left(self) -> str:
        data = framed(encoded_tensor([self._dice.choice(self._asked.pictures)[0]]))
        encoded = triton_grpc.InferInput("encoded", list(data.shape), "UINT8")
        encoded.set_data_from_numpy(data)
        over = Event()
        call = self._raw.async_infer(TASK.name, [encoded], lambda **_: over.set(), client_timeout=TIMEOUT_S)
        time.sleep(self._dice.random() * 0.05)
        call.cancel()
        return "cancelled" if over.wait(TIMEOUT_S + 5) else "LOST"
