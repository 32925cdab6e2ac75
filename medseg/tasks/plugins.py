"""Tasks as plug-ins: entry points of the group `medseg.tasks`, medseg's own among them. Imported when asked for."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from medseg.data.decoding import problems
from medseg.errors import TaskError
from medseg.pipeline import contradictions
from medseg.task import Task

GROUP = "medseg.tasks"


def offered() -> Mapping[str, tuple[EntryPoint, ...]]:
    """The tasks that installed packages offer, by name, sorted; nothing of them is imported.

    More than one entry point of a name is a collision, which `loaded` refuses. Raises TaskError where there is none.
    """
    if found := _offered(tuple(sys.path)):
        return found
    raise TaskError(
        f"this environment knows no task, not even medseg's own; expected entry points of the group {GROUP!r}: install "
        "medseg again (in a checkout: uv pip install --no-deps -e .)"
    )


def loaded(name: str) -> Task:
    """The task of this name, which is offered. Raises TaskError where its package is broken or not the only one."""
    point, *others = offered()[name]
    if others:
        packages = ", ".join(sorted(f"{_package(one)} ({one.value})" for one in (point, *others)))
        raise TaskError(
            f"task {name!r} is registered by several packages, {packages}; expected one: uninstall the others"
        )
    try:
        task = point.load()
    except Exception as error:  # whatever a stranger's module raises when it is imported
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TaskError(f"task {name!r} cannot be imported from {_origin(point)}: {reason}; {_mend(point)}") from error
    if not isinstance(task, Task):
        found = f"is a {type(task).__name__}; expected a medseg.task.Task"
        raise TaskError(f"task {name!r}, {_origin(point)}, {found}; {_mend(point)}")
    if problem := next(_problems(name, task), None):
        raise TaskError(f"task {name!r}, {_origin(point)}, {problem}; {_mend(point)}")
    return task


def owner(network: str) -> str:
    """The task that a network of this name belongs to: the longest whose name it has or begins with; "" if none.

    By the name alone, so that not every task must be imported to find a network's task.
    """
    return max((name for name in offered() if f"{network}-".startswith(f"{name}-")), key=len, default="")


@lru_cache
def _offered(_: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """What is offered on this path; asking costs a look into every installed package."""
    found = defaultdict(set)
    for point in entry_points(group=GROUP):
        found[point.name].add(point)
    return {name: tuple(found[name]) for name in sorted(found)}


def _problems(name: str, task: Task) -> Iterator[str]:
    """What of the record contradicts itself."""
    networks = [network.name for network in task.networks]
    if task.name != name:
        yield f"calls itself {task.name!r}; expected the name under which it is registered"
    for network, times in Counter(networks).items():
        if times > 1:
            yield f"has {times} networks {network!r}; expected one per name"
        if owner(network) != name:
            whose = f"belongs to task {owner(network)!r}" if owner(network) else "no task is found by"
            expected = f"expected {name!r}, or a name that begins with '{name}-'"
            yield f"has a network {network!r}, whose name {whose}; {expected}"
    if task.described:
        return  # what it names is there when a run has described it
    yield from contradictions(task.pipeline)
    steps, pipeline = {step.name: step for step in task.pipeline.steps}, task.pipeline
    known = {
        "networks that are optional": (task.optional, networks),
        "networks that learn from its data": (task.data.training if task.data else (), networks),
        "options": ([option.name for option in task.options], pipeline.inputs),
        "outputs that are measured": (task.files.measured, pipeline.outputs),
        "steps that decode": (task.decoding, steps),
    }
    for what, (named, there) in known.items():
        if strange := [one for one in named if one not in there]:
            yield f"names {what} that it does not have, {strange[0]!r}; expected one of {', '.join(there) or 'none'}"
    for step, decode in task.decoding.items():
        if steps[step].outputs != (decode.output,):
            made = ", ".join(steps[step].outputs)
            yield f"decodes to {decode.output!r} in step {step!r}, which makes {made}; expected the same"
        yield from (f"decodes in step {step!r} to {problem}" for problem in problems(decode))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of package {_package(point)}"


def _mend(point: EntryPoint) -> str:
    return f"repair or uninstall {point.dist.name if point.dist else 'it'}"
