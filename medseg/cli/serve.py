"""`medseg serve`: a task's model repository, and the Triton server on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import RunsOption


def serve(
    task: Annotated[str, typer.Argument(help="luna, gi-tract, brain-lgg or stas.")],
    run: RunsOption = None,
    engine: Annotated[str, typer.Option(help="The engine that runs the networks.")] = "openvino",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    decoder: Annotated[
        str, typer.Option(help="What decodes pictures: dali, or reference (Pillow and NumPy).")
    ] = "dali",
    write_only: Annotated[Path | None, typer.Option(help="Write the model repository here and stop.")] = None,
    http_port: Annotated[int, typer.Option(help="HTTP port on loopback.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="gRPC port on loopback.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics port on loopback.")] = 8002,
    log: Annotated[Path, typer.Option(help="The server's log.")] = Path("triton.log"),
) -> None:
    """Serve a task's whole pipeline as a Triton ensemble, until interrupted.

    Example: medseg serve luna --run runs/segment --run runs/nodule
    """
    import signal
    from contextlib import suppress
    from tempfile import TemporaryDirectory

    from medseg.engines.runs import cores, exported_file
    from medseg.errors import InputError
    from medseg.run import Run
    from medseg.tasks import task_named
    from medseg.triton_models.config import Served
    from medseg.triton_models.repository import DECODERS, write
    from medseg.triton_models.server import Ports, serving
    from medseg.triton_models.watch import watch

    subject, runs = task_named(task), [Run(path) for path in run or []]
    if not runs:
        raise InputError("`medseg serve` got no --run; expected one for each of the task's networks")
    served = [
        Served(subject.network(one.network), str(exported_file(one, engine, precision).resolve()), engine, cores(), 1)
        for one in runs
    ]
    if decoder not in DECODERS:
        raise InputError(f"--decoder is {decoder!r}; expected one of {', '.join(DECODERS)}")
    makers = DECODERS[decoder]
    if write_only:
        names = write(write_only, subject, served, makers)
        typer.echo(f"{write_only}: {', '.join(names)}")
        return
    with TemporaryDirectory(prefix="medseg-repository-") as folder:
        names = write(Path(folder), subject, served, makers)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops as cleanly as Ctrl-C
        ports = Ports(http_port, grpc_port, metrics_port)
        with serving(Path(folder), names, ports, log) as server, suppress(KeyboardInterrupt):
            typer.echo(f"serving {task} at {server.url} and grpc://127.0.0.1:{grpc_port}; log: {log}; Ctrl-C stops")
            watch(server, lambda line: typer.echo(line, err=True))
