"""How a peer answers: the task's own pre- and post-processing around a network that another library computes.

The masks can therefore be compared with ours. For LUNA the peers run the authors' chain (`luna_reference.py`), because
ours leaves out computations that cannot change the answer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.luna_reference import OnTensors, candidates
from medseg.data.byte_strings import unframed
from medseg.data.encoded import encoded_tensor
from medseg.engines import open_engine
from medseg.engines.runs import exported_file, found_in
from medseg.export.graph import trained
from medseg.run import Run
from medseg.task import Array, Infer, Networks
from medseg.tasks import network_named, task_named

WANTED = np.array([b"mask"], object)
EAGER, COMPILED = "eager", "compile"  # PyTorch as it is, and through torch.compile
SERVERS = ("fastapi", "litserve", "ray")
ENGINES = ("openvino", "onnxruntime")  # open the runs' exported files, as ours does

Answer = Callable[[Sequence[bytes]], Array]  # from encoded pictures, or a CT as .npy, to a mask (luna: packed bits)


@dataclass(frozen=True)
class Peer:
    """A server that a user might write: which one, and what computes the networks in it."""

    server: str  # one of SERVERS
    inference: str  # EAGER, COMPILED or one of ENGINES
    precision: str = "fp32"  # of the engines' files; PyTorch computes in float32
    streams: int = 1  # of the engines: how many calls they answer at the same time

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.server}, {self.inference}" + (f" {self.precision}" if self.inference in ENGINES else "")


def peer_named(words: str, precision: str) -> Peer:
    """The peer of `SERVER,INFERENCE`. Ends the program where one of them is unknown."""
    server, _, inference = words.partition(",")
    if server not in SERVERS or inference not in (EAGER, COMPILED, *ENGINES):
        raise SystemExit(
            f"--peer is {words!r}; expected SERVER,INFERENCE with {', '.join(SERVERS)} and "
            f"{', '.join((EAGER, COMPILED, *ENGINES))}"
        )
    return Peer(server, inference, precision)


def networks(runs: Sequence[Run], inference: str, precision: str, streams: int = 1) -> Networks:
    """The runs' networks by name, as `inference` computes them."""

    def opened(run: Run) -> Infer:
        if inference in ENGINES:
            return open_engine(inference, exported_file(run, inference, precision), streams=streams)
        return in_torch(run, inference == COMPILED)

    return found_in({run.network: opened(run) for run in runs})


def in_torch(run: Run, compiled: bool) -> Infer:
    """The run's network as PyTorch's users call it: a module in evaluation mode."""
    module: OnTensors = trained(run, network_named(run.network)).eval()
    if compiled:
        module = torch.compile(module)

    def infer(batch: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    return infer


def answerer(peer: Peer, task: str, folders: Sequence[Path]) -> Answer:
    """The function that a peer's server calls for each request, with these runs."""
    runs = [Run(folder) for folder in folders]
    computed = networks(runs, peer.inference, peer.precision, peer.streams)
    if task == "luna":
        return _luna_answerer(computed)
    pipeline = task_named(task).answered_by([run.network for run in runs]).pipeline

    def answer(pictures: Sequence[bytes]) -> Array:
        return pipeline({"encoded": encoded_tensor(pictures), "wanted": WANTED}, computed)["mask"]

    return answer


def answered(answer: Answer, body: bytes) -> tuple[bytes, str]:
    """The mask for a posted body, and its shape as a header's text."""
    mask = answer(list(unframed(np.frombuffer(body, np.uint8), "pictures")))
    return mask.tobytes(), ",".join(map(str, mask.shape))


def _luna_answerer(computed: Networks) -> Answer:
    segment, classify = (_on_tensors(computed(name)) for name in ("luna-segment", "luna-nodule"))

    def answer(cts: Sequence[bytes]) -> Array:
        return np.packbits(candidates(np.load(io.BytesIO(cts[0])), segment, classify)["mask"])

    return answer


def _on_tensors(infer: Infer) -> OnTensors:
    return lambda batch: torch.from_numpy(infer(batch.numpy()))
