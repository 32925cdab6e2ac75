"""`medseg serve`: a task's model repository, and the Triton server on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import words
from medseg.cli.groups import grouped
from medseg.cli.options import JsonOption, NoVerifyOption, PrecisionOption, RunsOption, TaskArgument
from medseg.cli.said import say
from medseg.cli.words import each, enough

if TYPE_CHECKING:
    from medseg.triton_models.access import Access
    from medseg.triton_models.server import Server


@dataclass(frozen=True)
class Networks:
    """Which engines run the networks, and what decodes pictures."""

    target: Annotated[
        str,
        typer.Option(help="embedded: this machine; cpu or gpu: NVIDIA's container image, with --write-only."),
    ] = "embedded"
    engine: Annotated[
        str | None,
        typer.Option(
            help="What runs the networks.  [default: openvino; target cpu: onnxruntime; gpu: tensorrt]",
            callback=each(words.known_engine),
            autocompletion=words.engines,
        ),
    ] = None
    precision: PrecisionOption = "fp32"
    decoder: Annotated[str, typer.Option(help="What decodes pictures: dali, or reference (Pillow and NumPy).")] = "dali"
    instances: Annotated[
        int | None,
        typer.Option(
            help="Instances of each network, which share the cores; 1 answers a single request fastest.  "
            "[default: one per core]"
        ),
    ] = None


@dataclass(frozen=True)
class Doors:
    """Where the server listens, and to whom."""

    host: Annotated[
        str, typer.Option(help="Where gRPC listens; beyond loopback it needs the TLS files and a token.")
    ] = "127.0.0.1"
    tls_cert: Annotated[Path | None, typer.Option(help="The certificate for gRPC, PEM.")] = None
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Require clients to have a certificate from this authority, PEM.")
    ] = None
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that gRPC clients send as 'medseg-token'.")
    ] = None
    http_port: Annotated[int, typer.Option(help="HTTP port on loopback; 0 takes a free one.")] = 8000
    grpc_port: Annotated[int, typer.Option(help="gRPC port.")] = 8001
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics port.")] = 8002
    metrics_host: Annotated[
        str,
        typer.Option(
            help="Where the metrics listen, such as 0.0.0.0 for a Prometheus on another machine; anybody "
            "can then read them."
        ),
    ] = "127.0.0.1"

    @property
    def access(self) -> Access:
        """Who may reach the server."""
        from medseg.triton_models.access import Access

        return Access(self.host, self.tls_cert, self.tls_key, self.tls_client_ca, self.token_file, self.metrics_host)


@grouped
def serve(
    task: TaskArgument,
    networks: Networks,
    doors: Doors,
    run: RunsOption = None,
    no_verify: NoVerifyOption = False,
    write_only: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the model repository here and stop.")
    ] = None,
    log: Annotated[Path, typer.Option(metavar="FILE", help="The server's log.")] = Path("triton.log"),
    tritonserver: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Another build of the server, such as /opt/tritonserver in NVIDIA's images."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Serve a task's whole pipeline as a Triton ensemble, until it is interrupted.

    Example: medseg serve luna --run runs/segment --run runs/nodule
    """
    import os
    import signal
    from contextlib import suppress
    from json import dumps

    from medseg.errors import InputError
    from medseg.files import whole_folder
    from medseg.run import Run
    from medseg.tasks import task_named
    from medseg.triton_models.access import check

    Run.verify, access = not no_verify, doors.access
    check(access)  # refused before anything is written
    if not run:
        raise InputError("`medseg serve` got no --run; expected one for each of the task's networks")
    enough(task, run)
    from medseg.api.serve import Repository, write_repository  # Triton's client comes with it
    from medseg.api.serve import serve as started
    from medseg.triton_models.server import Ports
    from medseg.triton_models.watch import watch
    from medseg.triton_models.wheel import CHOSEN

    if tritonserver:
        os.environ[CHOSEN] = str(tritonserver.absolute())
    subject, wanted = task_named(task), Repository(**asdict(networks))
    if write_only:
        with whole_folder(write_only, last=subject.name) as folder:  # the ensemble, which needs all the others
            names = write_repository(folder, subject, run, wanted)
        written = {"repository": str(write_only), "models": names}
        typer.echo(dumps(written) if json else f"{write_only}: {', '.join(names)}")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops as cleanly as Ctrl-C
    ports = Ports(doors.http_port, doors.grpc_port, doors.metrics_port)
    with started(task, run, wanted, ports, log, access) as server, suppress(KeyboardInterrupt):
        told = _told(task, server, access)
        line = f"serving {task} at {told['http']} and {told['grpc']}; metrics: {told['metrics']}; log: {log}"
        typer.echo(dumps(told) if json else f"{line}; Ctrl-C stops")
        if not access.local:
            say("warning", f"gRPC listens on {doors.host}, beyond this machine, with TLS and a token")
        watch(server, lambda line: typer.echo(line, err=True))


def _told(task: str, server: Server, access: Access) -> dict[str, str]:
    """Where the server is reached, and its log."""
    return {
        "task": task,
        "http": server.url,
        "grpc": access.url(server.ports.grpc),
        "metrics": f"http://{access.metrics_host}:{server.ports.metrics}/metrics",
        "log": str(server.log),
    }
