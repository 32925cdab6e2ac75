"""Networks that answer with something else than an answer, in every task's own pipeline or behind its guard."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from medseg.task import Array, Infer, Network, sound
from medseg.tasks import network_named, task_named, task_names
from tests.fuzz.outcomes import Campaign, Outcome, outcome
from tests.tasks.test_unsound_networks import DAMAGES, sound_network


def _damaged(rng: np.random.Generator, logits: Array) -> tuple[str, Array, bool]:
    """What was done to an answer, what it became, and whether it is still one."""
    known = sorted(DAMAGES)
    pick = int(rng.integers(len(known) + 5))
    if pick < len(known):
        return known[pick], DAMAGES[known[pick]](logits), False
    if pick == len(known):
        odd = rng.choice([np.nan, np.inf, -np.inf])
        changed = logits.copy()
        changed.reshape(-1)[rng.integers(changed.size, size=int(rng.integers(1, 9)))] = odd
        return f"some {odd}", changed, False
    if pick == len(known) + 1:
        axis = int(rng.integers(logits.ndim))
        cut = np.take(logits, range(int(rng.integers(logits.shape[axis]))), axis)
        return f"axis {axis} cut", cut, False
    if pick == len(known) + 2:
        return "flat", logits.reshape(len(logits), -1)[:, None, None, None], False
    if pick == len(known) + 3:
        return "other numbers", (logits * rng.normal(size=logits.shape) * 9).astype(np.float32), True
    return "as float64", logits.astype(np.float64), True


def outcomes(name: str, count: int, _: Path, seed: int) -> Iterator[Outcome]:
    network, rng = network_named(name), np.random.default_rng(seed)
    shape = tuple(32 if axis in network.free_axes else size for axis, size in enumerate(network.input_shape, 1))
    batch = rng.normal(size=(2, *shape)).astype(np.float32)
    whole = sound_network(network)(batch)
    for number in range(count):
        what, answer, fine = _damaged(rng, whole)
        guarded = sound(network, _always(answer))
        word = outcome(lambda guarded=guarded: guarded(batch), partial(np.array_equal, whole), altered=fine)
        yield word, f"{number} {what}"


def _always(answer: Array) -> Infer:
    return lambda _: answer


def _of(task: str) -> tuple[Network, ...]:
    return task_named(task).networks


CAMPAIGNS = {
    f"answers of {network.name}": Campaign(partial(outcomes, network.name), clear=0.5)
    for task in task_names()
    for network in _of(task)[:1]
}
