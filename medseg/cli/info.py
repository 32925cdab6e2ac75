"""`medseg info`: the tasks, their networks and classes, and the engines."""

from __future__ import annotations

from typing import Annotated

import typer


def info(
    task: Annotated[str | None, typer.Argument(help="One task; all of them if absent.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tasks, networks, classes, engines.

    Example: medseg info luna
    """
    from json import dumps

    from medseg.engines import ENGINES
    from medseg.tasks import TASKS, task_named

    tasks = [task_named(name) for name in ([task] if task else TASKS)]
    facts = {
        "tasks": {
            one.name: {
                "title": one.title,
                "networks": {
                    network.name: {
                        "input": network.input_shape,
                        "output": network.output_shape,
                        "classes": network.classes,
                    }
                    for network in one.networks
                },
                "steps": [step.name for step in one.pipeline.steps],
            }
            for one in tasks
        },
        "engines": {name: {"needs": package, "extra": extra} for name, (_, package, extra, _) in ENGINES.items()},
    }
    if json:
        typer.echo(dumps(facts, indent=2))
        return
    for one in tasks:
        typer.echo(f"{one.name}: {one.title}")
        for network in one.networks:
            typer.echo(
                f"  {network.name}  {network.input_shape} -> {network.output_shape}  {', '.join(network.classes)}"
            )
        typer.echo(f"  steps: {' > '.join(step.name for step in one.pipeline.steps)}")
    typer.echo(f"engines: {', '.join(ENGINES)}")
