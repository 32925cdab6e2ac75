"""The tasks by name; a task's module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from medseg.errors import InputError, RunError
from medseg.run import Run
from medseg.task import Network, Task, Training

TASKS = {
    "luna": "medseg.tasks.luna",
    "gi-tract": "medseg.tasks.gi_tract",
    "brain-lgg": "medseg.tasks.brain_lgg",
    "stas": "medseg.tasks.stas",
}

_WIDEST = 4096  # of a network's numbers


def task_named(name: str) -> Task:
    """The task of this name. Raises InputError listing the names there are."""
    if name not in TASKS:
        raise InputError(f"task {name!r} is unknown; expected one of {', '.join(TASKS)}")
    return cast(Task, import_module(TASKS[name]).TASK)


def network_named(name: str) -> Network:
    """The network of this name, of whichever task has it. Raises InputError listing the names there are."""
    networks = {network.name: network for task in TASKS for network in _networks(task)}
    if name not in networks:
        raise InputError(f"network {name!r} is unknown; expected one of {', '.join(networks)}")
    return networks[name]


def network_of(run: Run) -> Network:
    """The network that a run holds. Raises RunError where no task has it, or it cannot have been built like that."""
    try:
        network = network_named(run.network)
    except InputError as error:
        raise RunError(f"run {run.path} holds an unknown network: {error}") from error
    for name, value in run.options.items():
        usual = network.options.get(name)
        if usual is None:
            raise RunError(
                f"run {run.path} was built with an option {name[:80]!r} that {network.name} does not have; expected "
                f"{', '.join(network.options)}: import or train again"
            )
        if type(value) is not type(usual) or (isinstance(value, int) and not 0 < value <= _WIDEST):
            raise RunError(
                f"run {run.path} was built with {name} {str(value)[:80]!r}; expected a value such as {usual!r}: import "
                "or train again"
            )
    return network


def task_of(network: Network) -> str:
    """The name of the task that has a network of this name, "" where none has."""
    return next((task for task in TASKS if network.name in [known.name for known in _networks(task)]), "")


def training_of(network: Network, doing: str) -> Training:
    """How this network's samples are drawn and changed. Raises InputError where its task cannot say; see known_data."""
    task = task_named(task_of(network))
    training = task.known_data(doing).training
    if network.name not in training:
        raise InputError(f"task {task.name!r} does not say what {network.name} learns from, so it cannot {doing}")
    return training[network.name]


def _networks(task: str) -> tuple[Network, ...]:
    return cast(tuple[Network, ...], import_module(f"{TASKS[task]}.networks").NETWORKS)
