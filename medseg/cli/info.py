"""`medseg info`: the tasks, their networks, inputs and scores, and the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli import words
from medseg.cli.options import JsonOption
from medseg.cli.words import each

if TYPE_CHECKING:
    from medseg.task import Network, Option, Task, Tensor


def info(
    task: Annotated[
        str | None,
        typer.Argument(
            help="One task in full; without it, a summary of all tasks.",
            callback=each(words.known_task),
            autocompletion=words.tasks,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List tasks, networks, classes, scores and engines.

    Example: medseg info luna
    """
    from json import dumps

    from medseg.tasks import task_named, task_names

    found = {task: _facts(task_named(task))} if task else {name: _known(name) for name in task_names()}
    facts = {"tasks": found, "engines": _engines()}
    if json:
        typer.echo(dumps(facts, indent=2))
    else:
        typer.echo("\n".join(_whole(task, facts) if task else _short(facts)))


def _known(name: str) -> dict[str, Any]:
    """A task's facts; for a broken task only what is wrong with it, so that the others are still listed."""
    from medseg.errors import TaskError
    from medseg.tasks import task_named

    try:
        return _facts(task_named(name))
    except TaskError as error:
        return {"title": f"cannot be used: {error}", "networks": {}}


def _facts(task: Task) -> dict[str, Any]:
    from dataclasses import asdict

    wires = {side: [task.pipeline.tensor(name) for name in getattr(task.pipeline, side)] for side in _SIDES}
    return {
        "title": task.title,
        "expects": task.files.expects,
        "networks": {network.name: _network(network) for network in task.networks},
        **{side: {wire.name: _tensor(wire) for wire in found} for side, found in wires.items()},
        "options": {one.name: _option(one, task) for one in task.options},
        "steps": [step.name for step in task.pipeline.steps],
        "scores": [asdict(metric) for metric in task.scoring.metrics] if task.scoring else [],
    }


def _option(option: Option, task: Task) -> dict[str, Any]:
    from medseg.cli.task_options import bounds

    least, most = bounds(option, task)
    return {"help": option.help, "default": option.default, "choices": option.choices, "least": least, "most": most}


_SIDES = ("inputs", "outputs")
_WIDTH = 110  # letters


def _network(network: Network) -> dict[str, Any]:
    return {
        "input": network.input_shape,
        "output": network.output_shape,
        "classes": network.classes,
        "free_axes": {axis - 1: factor for axis, factor in network.free_axes.items()},
        "input_range": network.input_range,
    }


def _tensor(wire: Tensor) -> dict[str, Any]:
    return {"dtype": wire.dtype, "shape": wire.shape, "optional": wire.optional}


def _engines() -> dict[str, dict[str, Any]]:
    from importlib.util import find_spec

    from medseg.engines import ENGINES

    return {
        name: {"needs": kind.package, "extra": kind.extra, "installed": find_spec(kind.package) is not None}
        for name, kind in ENGINES.items()
    }


def _short(facts: dict[str, Any]) -> list[str]:
    """A line for each task and each of its networks."""
    lines = []
    for name, task in facts["tasks"].items():
        lines += [f"{name}: {task['title']}"]
        lines += [f"  {network}: {', '.join(found['classes'])}" for network, found in task["networks"].items()]
    return [*lines, _engine_line(facts), "`medseg info TASK` shows a task's networks, inputs, steps and scores"]


def _whole(name: str, facts: dict[str, Any]) -> list[str]:
    """Everything about one task."""
    from textwrap import wrap

    task = facts["tasks"][name]
    return [
        f"{name}: {task['title']}",
        *wrap(f"expects {task['expects']}", _WIDTH),
        "",
        *(_of_networks(task) if task["networks"] else _BROUGHT),
        *_options(name, task["options"]),
        *_scores(name, task["scores"]),
        "",
        "how they are pooled, and how other programs differ: docs/metrics.md",
        _engine_line(facts),
    ]


# For a task whose runs bring their own networks.
_BROUGHT = (
    "networks: any; each run describes its own, with the steps, inputs and outputs, in its segmentation.json. Runs are",
    "made by `medseg import` or `medseg train`: docs/own-network.md, docs/nnunet.md",
)


def _of_networks(task: dict[str, Any]) -> list[str]:
    return [
        "networks, each a run that `medseg import` or `medseg train` makes (shapes without the batch)",
        *(line for network, found in task["networks"].items() for line in _network_lines(network, found)),
        "",
        f"an answer's steps: {' > '.join(task['steps'])}",
        f"a server takes: {_wires(task['inputs'])}",
        f"a server gives: {_wires(task['outputs'])}",
    ]


def _network_lines(name: str, found: dict[str, Any]) -> list[str]:
    low, high = found["input_range"]
    axes = "".join(f"; axis {axis} also in steps of {factor}" for axis, factor in found["free_axes"].items())
    return [
        f"  {name}",
        f"    in:  {_size(found['input'])} float32 from {low:g} to {high:g}{axes}",
        f"    out: {_size(found['output'])} float32 logits of {', '.join(found['classes'])}",
    ]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) if size > 0 else "n" for size in shape)


def _wires(wires: dict[str, dict[str, Any]]) -> str:
    shown = [
        f"{name} {_size(wire['shape'])} {wire['dtype']}{' (optional)' if wire['optional'] else ''}"
        for name, wire in wires.items()
    ]
    return ", ".join(shown)


def _options(name: str, options: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each option of the task's own."""
    if not options:
        return []
    lines = ["", f"options of `medseg predict {name}`, and of `medseg.predict` in Python"]
    for option, found in options.items():
        numbers = "a number" if found["least"] is None else f"{found['least']:g} to {found['most']:g}"
        values = " or ".join(found["choices"]) or numbers
        lines.append(f"  {option}  {found['help']} ({values}; default {found['default']})")
    return lines


def _scores(name: str, metrics: list[dict[str, str]]) -> list[str]:
    """A line for each score: its key and unit in columns, then what it means."""
    from textwrap import wrap

    better = {"higher": "higher is better", "lower": "lower is better"}
    if not metrics:
        return ["", f"{name} has no scores: `medseg evaluate` refuses it, `medseg bench` shows only latency"]
    width = max(len(metric["key"]) for metric in metrics)
    lines = ["", "scores of `medseg evaluate` and `medseg bench`"]
    for metric in metrics:
        facts = ", ".join(part for part in (metric["unit"], better.get(metric["better"])) if part)
        first, *more = wrap(f"{metric['meaning']} ({facts})", _WIDTH - width)
        lines += [f"  {metric['key']:<{width}}  {first}", *(f"{'':<{width + 4}}{line}" for line in more)]
    return lines


def _engine_line(facts: dict[str, Any]) -> str:
    engines = [
        name if found["installed"] else f"{name} (not installed: medseg[{found['extra']}])"
        for name, found in facts["engines"].items()
    ]
    return f"engines: {', '.join(engines)}"
