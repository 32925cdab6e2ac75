"""`medseg serve`: a task's model repository, and the Triton server on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.groups import grouped
from medseg.cli.options import NoVerifyOption, RunsOption, TaskArgument


@dataclass(frozen=True)
class Networks:
    """How the networks and pictures are opened."""

    target: Annotated[
        str,
        typer.Option(help="embedded: this machine; cpu or gpu: NVIDIA's container image, with --write-only."),
    ] = "embedded"
    engine: Annotated[
        str | None,
        typer.Option(help="What runs the networks.  [default: openvino; target cpu: onnxruntime; gpu: tensorrt]"),
    ] = None
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8.")] = "fp32"
    decoder: Annotated[str, typer.Option(help="What decodes pictures: dali, or reference (Pillow and NumPy).")] = "dali"
    instances: Annotated[
        int | None,
        typer.Option(
            help="Of each network, sharing out the cores: 1 answers a lone request soonest.  [default: one a core]"
        ),
    ] = None


@dataclass(frozen=True)
class Doors:
    """Where the server listens, and to whom."""

    host: Annotated[
        str, typer.Option(help="Where gRPC listens; beyond loopback it needs the TLS files and a token.")
    ] = "127.0.0.1"
    tls_cert: Annotated[Path | None, typer.Option(help="gRPC's certificate, PEM.")] = None
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None
    tls_client_ca: Annotated[Path | None, typer.Option(help="Clients need a certificate of this authority, PEM.")] = (
        None
    )
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that gRPC clients send as 'medseg-token'.")
    ] = None
    http_port: Annotated[int, typer.Option(help="HTTP port on loopback.")] = 8000
    grpc_port: Annotated[int, typer.Option(help="gRPC port.")] = 8001
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics port on loopback.")] = 8002


@grouped
def serve(
    task: TaskArgument,
    networks: Networks,
    doors: Doors,
    run: RunsOption = None,
    no_verify: NoVerifyOption = False,
    write_only: Annotated[Path | None, typer.Option(help="Write the model repository here and stop.")] = None,
    log: Annotated[Path, typer.Option(help="The server's log.")] = Path("triton.log"),
) -> None:
    """Serve a task's whole pipeline as a Triton ensemble, until interrupted.

    Example: medseg serve luna --run runs/segment --run runs/nodule
    """
    import signal
    from contextlib import suppress

    from medseg.api.serve import Repository, write_repository
    from medseg.api.serve import serve as started
    from medseg.files import whole_folder
    from medseg.run import Run
    from medseg.tasks import task_named
    from medseg.triton_models.access import Access, check
    from medseg.triton_models.server import Ports
    from medseg.triton_models.watch import watch

    Run.verify = not no_verify
    access = Access(doors.host, doors.tls_cert, doors.tls_key, doors.tls_client_ca, doors.token_file)
    check(access)  # refused before anything is written
    subject, wanted = task_named(task), Repository(**asdict(networks))
    if write_only:
        with whole_folder(write_only, last=subject.name) as folder:  # the ensemble, which needs all the others
            names = write_repository(folder, subject, run or [], wanted)
        typer.echo(f"{write_only}: {', '.join(names)}")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops as cleanly as Ctrl-C
    ports = Ports(doors.http_port, doors.grpc_port, doors.metrics_port)
    with started(task, run or [], wanted, ports, log, access) as server, suppress(KeyboardInterrupt):
        typer.echo(
            f"serving {task} at {server.url} and grpc://{doors.host}:{doors.grpc_port}; log: {log}; Ctrl-C stops"
        )
        if not access.local:
            typer.echo(f"warning: gRPC listens on {doors.host}, beyond this machine, with TLS and a token", err=True)
        watch(server, lambda line: typer.echo(line, err=True))
