"""The tasks and their networks by name; a task's module is imported when it is asked for, see `plugins`."""

from __future__ import annotations

from contextlib import suppress

from medseg.errors import InputError, RunError, TaskError
from medseg.run import Run
from medseg.task import Network, Task, Training
from medseg.tasks.plugins import loaded, offered, owner

_WIDEST = 4096  # of a network's numbers


def task_names() -> list[str]:
    """The names of the tasks there are, sorted."""
    return list(offered())


def task_named(name: str) -> Task:
    """The task of this name. Raises InputError listing the names there are, TaskError where its package is broken."""
    if name not in offered():
        raise InputError(f"task {name!r} is unknown; expected one of {', '.join(offered())}")
    return loaded(name)


def network_named(name: str) -> Network:
    """The network of this name, of whichever task has it. Raises InputError listing the names there are."""
    task = owner(name)
    networks = {network.name: network for network in (loaded(task).networks if task else ())}
    if name not in networks:
        raise InputError(f"network {name!r} is unknown; expected one of {', '.join(networks or _all_networks())}")
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
    """The name of the task that a network belongs to, "" where none has such names."""
    return owner(network.name)


def training_of(network: Network, doing: str) -> Training:
    """How this network's samples are drawn and changed. Raises InputError where its task cannot say; see known_data."""
    task = task_named(task_of(network))
    training = task.known_data(doing).training
    if network.name not in training:
        raise InputError(f"task {task.name!r} does not say what {network.name} learns from, so it cannot {doing}")
    return training[network.name]


def _all_networks() -> list[str]:
    """The names of the networks of every task that is not broken."""
    names = []
    for task in offered():
        with suppress(TaskError):
            names += [network.name for network in loaded(task).networks]
    return names
