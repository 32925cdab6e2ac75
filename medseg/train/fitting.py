"""Which options or which other network a checkpoint fits, if it does not fit the chosen one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from medseg.errors import InputError
from medseg.models.checkpoint import built, read_weights, state_problems, without
from medseg.models.weight_sets import State
from medseg.task import Network
from medseg.tasks import task_named, task_of

Options = Mapping[str, Any]


def fitting_network(network: Network, options: Options, checkpoint: Path) -> str:
    """What the checkpoint fits, in words: other options, or another network of the task; "" where nothing was found."""
    for other in _others(network, options):
        for tried in (other, *_scaled(network, other, checkpoint)):
            if tried != options and _fits(network, tried, checkpoint):
                words = [f"--{name} {value}" for name, value in tried.items() if value != options[name]]
                return f"it fits with {' '.join(words)}"
    task = task_of(network)
    for rest in task_named(task).networks if task else ():
        if rest.name != network.name and _fits(rest, rest.options, checkpoint):
            return f"it fits {rest.name}"
    return ""


def _others(network: Network, options: Options) -> Iterator[Options]:
    """The options as they are, and with every other choice of each of them."""
    yield options
    for name, values in network.choices.items():
        yield from ({**options, name: value} for value in values if value != options[name])


def _scaled(network: Network, options: Options, checkpoint: Path) -> Iterator[Options]:
    """The options with the width that most of the checkpoint's shapes ask for."""
    if "features" not in options:
        return
    try:
        expected = _shapes(network, options)
        found = read_weights(checkpoint, expected).state
    except InputError:
        return
    pairs = [(expected[key].shape, found[key].shape) for key in expected if key in found]
    sizes = [pair for a, b in pairs if len(a) == len(b) for pair in zip(a, b, strict=True) if pair[0] != pair[1]]
    widths = Counter(options["features"] * there // here for here, there in sizes if here)
    yield from ({**options, "features": width} for width, _ in widths.most_common(2) if 0 < width <= 1024)


def _fits(network: Network, options: Options, checkpoint: Path) -> bool:
    try:
        expected = _shapes(network, options)
        state, _ = without(read_weights(checkpoint, expected).state, network.unused)
    except InputError:
        return False
    return not state_problems(expected, network.keys(state) if network.keys else state)


def _shapes(network: Network, options: Options) -> State:
    """The state of the network with these options, without its numbers."""
    with torch.device("meta"):
        state: State = built(network.build, options).state_dict()
    return state
