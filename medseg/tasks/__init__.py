"""The tasks by name; a task's module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from medseg.errors import InputError
from medseg.task import Network, Task

TASKS = {
    "luna": "medseg.tasks.luna",
    "gi-tract": "medseg.tasks.gi_tract",
    "brain-lgg": "medseg.tasks.brain_lgg",
    "stas": "medseg.tasks.stas",
}


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


def task_of(network: Network) -> str:
    """The name of the task that has a network of this name, "" where none has."""
    return next((task for task in TASKS if network.name in [known.name for known in _networks(task)]), "")


def _networks(task: str) -> tuple[Network, ...]:
    return cast(tuple[Network, ...], import_module(f"{TASKS[task]}.networks").NETWORKS)
