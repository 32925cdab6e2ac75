"""Tier 2: every network in torch in FP32, TF32, mixed precision and compiled, compared with its own FP32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.setting import Setting, data_of, run_of
from benchmarks.gpu.sheet import Facts, Sheet
from benchmarks.gpu.timing import spread
from medseg.export.graph import trained
from medseg.export.parity import compare
from medseg.export.samples import drawn
from medseg.task import Array, Network
from medseg.tasks import task_named, task_names, task_of

BATCHES = {1: 32, 3: 8}  # by the number of an answer's axes: crops are small, pictures large
SMALLEST = "luna-nodule"


@dataclass(frozen=True)
class Way:
    """One way to compute a network."""

    name: str
    dtype: torch.dtype | None = None  # the type of mixed precision
    tf32: bool = False
    innermost: bool = False  # whether channels are the last axis in memory
    compiled: bool = False


WAYS = (
    Way("FP32"),
    Way("TF32", tf32=True),
    Way("AMP FP16", torch.float16, tf32=True),
    Way("AMP FP16, channels last", torch.float16, tf32=True, innermost=True),
    Way("AMP bf16, channels last", torch.bfloat16, tf32=True, innermost=True),
    Way("FP32 compiled", compiled=True),
    Way("AMP FP16 compiled", torch.float16, tf32=True, innermost=True, compiled=True),
)


def run(setting: Setting, sheet: Sheet) -> None:
    """A row for each network and way."""
    for network in networks(setting):
        asked: list[Array] = []
        answers: list[Array] = []

        def begin(network: Network = network, asked: list[Array] = asked) -> Facts:
            asked += samples(setting, network)
            weights = run_of(setting, network).manifest["source"]["kind"]
            return {"weights": weights, "samples": len(asked)}

        sheet.item(network.name, begin)
        for way in WAYS if asked else ():
            sheet.item(f"{network.name}, {way.name}", partial(computed, setting, network, way, asked, answers))


def networks(setting: Setting) -> list[Network]:
    """The networks of all tasks, without those that runs describe; in a rehearsal only the smallest one."""
    every = [network for name in task_names() for network in task_named(name).networks]
    return [network for network in every if not setting.rehearsal or network.name == SMALLEST]


def samples(setting: Setting, network: Network) -> list[Array]:
    """Inputs (1, *input_shape) float32, real ones if there is data."""
    if setting.rehearsal:
        return list(drawn(network, None, 1).samples)
    return list(drawn(network, data_of(setting, task_of(network)), 8).samples)


def computed(setting: Setting, network: Network, way: Way, asked: Sequence[Array], answers: list[Array]) -> Facts:
    """Time and parity of a network computed in this way. FP32 comes first, and its answers are the reference."""
    module = _module(setting, network, way)
    call = partial(_call, module, way, setting.device)
    with _tf32(way.tf32):
        found = [call(one) for one in asked]
        answers += found if not answers else []
        batch = filled(asked, 1 if setting.rehearsal else BATCHES[len(network.output_shape)])
        whole = spread(partial(call, batch), setting.seconds)
        there = torch.from_numpy(batch).to(setting.device)
        alone = spread(partial(_finished, partial(_logits, module, way, there), setting.device), setting.seconds)
    parity = compare(network, answers, found)
    judged = {"Dice to FP32": round(parity.dice, 6), "largest error": round(parity.probability_error, 6)}
    rate = round(1e3 * len(batch) / whole["ms"], 1)
    return judged | {"batch": len(batch), **whole, "on the device, ms": alone["ms"], "inputs/s": rate}


def filled(asked: Sequence[Array], size: int) -> Array:
    """A batch of this size, in which the samples repeat."""
    return np.concatenate([asked[index % len(asked)] for index in range(size)])


def _module(setting: Setting, network: Network, way: Way) -> Callable[[torch.Tensor], torch.Tensor]:
    module = trained(run_of(setting, network), network).eval().to(setting.device)
    if way.innermost:
        last = {3: torch.channels_last, 4: torch.channels_last_3d}[len(network.input_shape)]
        module = module.to(memory_format=last)
    backend = "eager" if setting.rehearsal else "inductor"  # inductor would take half of a rehearsal's time
    return torch.compile(module, backend=backend) if way.compiled else module


def _call(module: Callable[[torch.Tensor], torch.Tensor], way: Way, device: str, batch: Array) -> Array:
    """A call as in an engine: from host memory to host memory."""
    return _logits(module, way, torch.from_numpy(batch).to(device)).float().cpu().numpy()


def _logits(module: Callable[[torch.Tensor], torch.Tensor], way: Way, batch: torch.Tensor) -> torch.Tensor:
    mixed: dict[str, Any] = {"dtype": way.dtype or torch.bfloat16, "enabled": way.dtype is not None}
    with torch.inference_mode(), torch.autocast(batch.device.type, **mixed):
        return module(batch)


def _finished(work: Callable[[], torch.Tensor], device: str) -> None:
    work()
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    """Allow or forbid TF32 (10 bits of mantissa) for convolutions and matrix products."""
    _let_tf32(wanted)
    yield
    _let_tf32(False)


def _let_tf32(wanted: bool) -> None:
    torch.backends.cudnn.allow_tf32 = wanted
    torch.set_float32_matmul_precision("high" if wanted else "highest")
