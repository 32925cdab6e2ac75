"""The tasks and their networks by name; a task's module is imported when it is asked for, see `plugins`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from medseg.description import DESCRIPTION
from medseg.errors import InputError, RunError, TaskError, unknown
from medseg.run import Run
from medseg.task import Network, Task, Training
from medseg.tasks.plugins import loaded, offered, owner

_WIDEST = 4096  # of a network's numbers


def task_names() -> list[str]:
    """The names of the tasks there are, sorted."""
    return list(offered())


def task_named(name: str) -> Task:
    """The task of this name. Raises InputError listing the names there are, TaskError where its package is broken."""
    check_known(name)
    return loaded(name)


def check_known(name: str) -> None:
    """Raise InputError listing the names there are where no task has this one; nothing of a task is imported."""
    if name not in offered():
        raise InputError(unknown("task", name, offered()))


def task_as(name: str, runs: Sequence[Run]) -> Task:
    """The task of this name as these runs answer it: by their networks, or as their descriptions make it.

    Raises RunError where they are another task's, not enough, or describe no task.
    """
    task = task_named(name)
    if not task.described:
        return task.answered_by([run.network for run in runs])
    for run in runs:
        if owner(run.network) != name:
            raise RunError(f"run {run.path} holds {run.network}, which does not belong to {name}: leave it out")
    return task.described([description_of(run) for run in runs])


def brought_along(name: str) -> Task | None:
    """The task of this name, where its networks are described by runs, or that imports what is called so.

    It imports as the name says. None for a network's name.
    """
    if name in offered():
        task = task_named(name)
        return task if task.described and task.bringing else None
    if owner(name):
        return None
    for other in offered():
        with suppress(TaskError):
            task = loaded(other)
            if task.bringing and name in task.bringing.projects:
                return replace(task, bringing=replace(task.bringing, imported=task.bringing.projects[name]))
    return None


def description_of(run: Run) -> str:
    """The text of the description that a run brings along. Raises RunError where it has none, or it was changed."""
    if DESCRIPTION not in run.files:
        raise RunError(f"run {run.path} has no {DESCRIPTION}, which says what its network is: import or train again")
    return run.held(DESCRIPTION).read_text()


def task_with(network: Network) -> Task:
    """The task that has this network, as the network's description makes it where it has one."""
    task = task_named(task_of(network))
    return task.described([network.described_by]) if task.described else task


def network_named(name: str) -> Network:
    """The network of this name, of whichever task has it. Raises InputError listing the names there are."""
    task = owner(name)
    networks = {network.name: network for network in (loaded(task).networks if task else ())}
    if name not in networks:
        raise InputError(unknown("network", name, networks or network_words()))
    return networks[name]


def network_of(run: Run) -> Network:
    """The network that a run holds. Raises RunError where no task has it, or it cannot have been built like that."""
    if DESCRIPTION in run.files and owner(run.network):
        return task_as(owner(run.network), [run]).network(run.network)
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
    task = task_with(network)
    training = task.known_data(doing).training
    if network.name not in training:
        raise InputError(f"task {task.name!r} does not provide training data for {network.name}, so it cannot {doing}")
    return training[network.name]


def network_words() -> list[str]:
    """What names a network to `medseg train` and `medseg import`, of every task that is not broken.

    The networks' names, and of tasks whose runs describe them the task's own and those of the projects it imports.
    """
    names: list[str] = []
    for name in offered():
        with suppress(TaskError):
            task = loaded(name)
            names += [network.name for network in task.networks]
            names += [name, *task.bringing.projects] if task.described and task.bringing else []
    return names
