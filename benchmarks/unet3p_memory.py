"""The memory of one training step of UNet3+: peak resident memory of a process, with and without recomputation.

    python -m benchmarks.unet3p_memory [--arch unet3p] [--batch 16] [--accumulate 1] [--precision bf16-mixed] [--keep]

One optimizer step at 256 x 256 on random pictures (forward, backward and Adam) on the CPU. On a GPU, the activations
that a step keeps for the backward pass are the same, but the libraries' own buffers differ. `--keep` keeps every
activation, as a fit without recomputation does. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import torch

from medseg.models import nested_unet
from medseg.models.brain import ARCHITECTURES, brain_network
from medseg.models.checkpoint import parameter_count
from medseg.models.losses import loss_named
from medseg.tasks import network_named
from medseg.train.optimizers import optimizer_for

SIZE = 256
PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


def main() -> None:
    """Make the step and print its memory and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=list(ARCHITECTURES), default="unet3p")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--accumulate", type=int, default=1, help="batches to one optimizer step")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="bf16-mixed")
    parser.add_argument("--keep", action="store_true", help="keep activations instead of computing them again")
    asked = parser.parse_args()
    if asked.keep:
        nested_unet.checkpoint = lambda part, *inputs, **_: part(*inputs)
    module = brain_network(asked.arch).train()
    before, started = peak_gib(), time.perf_counter()
    loss = step(module, asked.batch, asked.accumulate, asked.precision)
    found = {
        **vars(asked),
        "size": SIZE,
        "parameters": parameter_count(module),
        "loss": round(loss, 4),
        "gib_before": round(before, 2),
        "gib_peak": round(peak_gib(), 2),
        "seconds": round(time.perf_counter() - started, 1),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


def step(module: torch.nn.Module, batch: int, accumulate: int, precision: str) -> float:
    """The loss of one optimizer step over `accumulate` batches."""
    recipe = network_named("brain-lgg").recipe
    optimizer, measure, total = optimizer_for(module.parameters(), recipe), loss_named(recipe.loss), 0.0
    for _ in range(accumulate):
        images, masks = torch.rand(batch, 3, SIZE, SIZE), torch.randint(0, 2, (batch, 1, SIZE, SIZE))
        with torch.autocast("cpu", PRECISIONS[precision], enabled=precision != "32-true"):
            loss = measure(module(images), masks) / accumulate
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def peak_gib() -> float:
    """The largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
