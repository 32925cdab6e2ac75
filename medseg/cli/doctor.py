"""`medseg doctor`: what this machine can run, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import words
from medseg.cli.abilities import abilities
from medseg.cli.options import JsonOption
from medseg.cli.said import coloured
from medseg.cli.words import each
from medseg.engines import ENGINES, Kind, named
from medseg.errors import InputError
from medseg.run import Run

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
SHARED_MEMORY = Path("/dev") / "shm"  # where POSIX keeps it
LARGEST_TENSOR_BYTES = 512 * 512 * 768 * 2  # a long CT as int16, the largest input of all tasks
# Triton's compatibility matrix, github.com/triton-inference-server/server/blob/main/docs/introduction/compatibility.md.
# It lists these images alone; the plain ones (25.09-py3) may hold another TensorRT.
RELEASES = {
    "10.0.1": ("24.05", "24.06"),
    "10.1.0": ("24.07",),
    "10.3.0": ("24.08",),
    "10.4.0": ("24.09", "24.10"),
    "10.6.0": ("24.11",),
    "10.7.0": ("24.12",),
    "10.8.0.43": ("25.01", "25.02"),
    "10.9.0.34": ("25.03", "25.04", "25.05"),
    "10.10.0.31": ("25.06", "25.07"),
    "10.11.0.33": ("25.08", "25.09", "25.10"),
    "10.13.3.9": ("25.11", "25.12", "26.01", "26.02"),
    "10.14.1.48": ("26.03", "26.04", "26.05", "26.06", "26.07"),
}
IMAGES = {f"{month}-trtllm-python-py3": version for version, months in RELEASES.items() for month in months}


@dataclass(frozen=True)
class Line:
    """One finding: what, its state, the fact, and the remedy where there is one.

    The state is ok, missing (it could be brought), problem, or absent (nothing that was asked for needs it).
    """

    what: str
    state: str
    fact: str
    remedy: str = ""


def doctor(
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run whose TensorRT files are compared with this machine.",
            callback=each(words.known_run),
            autocompletion=words.runs,
        ),
    ] = None,
    image: Annotated[
        str, typer.Option(help="A Triton image's tag, such as 25.09-trtllm-python-py3, to compare plans with.")
    ] = "",
    image_tensorrt: Annotated[
        str, typer.Option(help="Instead of the tag, the TensorRT version in the image (see its release notes).")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Show what this machine has, such as GPU, engines and ports, and what it can do.

    Example: medseg doctor --run runs/luna-segment --image 25.09-trtllm-python-py3
    """
    import json as text

    tensorrt = image_tensorrt or (_tensorrt_of(image) if image else "")
    lines = [*_gpu(), *_engines(), *_plans(runs or [], tensorrt), _dali(), _server(), _memory(), *_ports()]
    found = abilities({line.what: line.state for line in lines})
    if json:
        can = [asdict(one) for one in found]
        typer.echo(text.dumps({"findings": [asdict(line) for line in lines], "can": can}, indent=2))
        return
    for line in lines:
        remedy = f"; {line.remedy}" if line.remedy else ""
        typer.echo(f"{coloured(line.state, f'{line.state:8}')} {line.what:20} {line.fact}{remedy}")
    typer.echo("\nwhat this machine can do")
    for one in found:
        typer.echo(f"  {one.what:34} {coloured('ok' if one.can else '', 'yes' if one.can else 'no')}{one.because}")


def _gpu() -> Iterator[Line]:
    from medseg.engines.gpu import cuda_version, driver_version, gpu_name

    driver, remedy = driver_version(), "only GPU engines need it"
    if not driver:
        yield Line("NVIDIA driver", "absent", "none", remedy)
        return
    yield Line("NVIDIA driver", "ok", driver)
    for what, fact in (("CUDA", cuda_version()), ("GPU", gpu_name())):
        yield Line(what, "ok", fact) if fact else Line(what, "missing", "none found", "use the CPU engines")


def _engines() -> Iterator[Line]:
    for name, kind in ENGINES.items():
        version = _version(kind.package, *kind.distributions)
        if version:
            yield Line(f"engine {name}", *_usable(kind, version))
        else:
            state = "absent" if kind.builds else "missing"  # without a GPU, nothing that needs one counts as missing
            yield Line(f"engine {name}", state, f"no package {kind.package!r}", _install(kind))


def _usable(kind: Kind, version: str) -> tuple[str, str, str]:
    """State, fact and remedy of an installed engine; files that are built for a GPU open only on a GPU."""
    from medseg.engines.gpu import gpu_name

    gpu = gpu_name()
    if kind.builds and not gpu:
        if kind.builds == "anywhere":
            return "ok", f"{version}, builds engines here for other machines' GPUs", ""
        return "absent", f"{version}, no GPU", "engines are built and opened on a machine with a GPU"
    if gpu not in (kind.gpus or (gpu,)):
        fact = f"{version} builds no engines for this machine's GPU, {gpu}, but for {', '.join(kind.gpus)}"
        return "problem", fact, "use engine tensorrt"
    if kind.builds and not _version("cuda.bindings", "cuda-bindings"):
        return "problem", f"{version}, but no package 'cuda-bindings' to open engines with", _install(kind)
    return "ok", f"{version}, {named(kind.facts)()}" if kind.facts else version, ""


def _install(kind: Kind) -> str:
    return f"pip install 'medseg[{kind.extra}]'"


def _plans(runs: list[Path], image: str) -> Iterator[Line]:
    """Each TensorRT file of the runs against this machine, or against a Triton image's TensorRT version."""
    from medseg.engines.gpu import gpu_name
    from medseg.engines.tensorrt import unfit

    for run in map(Run, runs):
        for name, facts in run.files.items():
            if "gpu" not in facts:
                continue
            what = f"{run.path / name}"
            kind = ENGINES[facts["engine"]]
            if image and kind.backend:
                reason = unfit({"version": facts["version"]}, facts["gpu"], image)
            else:
                reason = unfit(facts, gpu_name(), _version(kind.package, *kind.distributions))
            yield Line(what, "problem", "cannot be opened", reason) if reason else Line(what, "ok", facts["version"])


def _tensorrt_of(image: str) -> str:
    """The TensorRT version in a Triton image by its tag. Raises InputError where it is not recorded."""
    tag = image.rsplit(":", 1)[-1]
    if tag not in IMAGES:
        notes = f"NVIDIA's release notes (rel-{tag.split('-')[0].replace('.', '-')})"
        raise InputError(
            f"the TensorRT in Triton image {tag!r} is not recorded; expected one of {min(IMAGES)} to {max(IMAGES)}: "
            f"read it from {notes} or from `dpkg -l 'libnvinfer*'` in the image, and give --image-tensorrt"
        )
    return IMAGES[tag]


def _dali() -> Line:
    version = _version("nvidia.dali", "nvidia-dali-cuda130", "nvidia-dali-cuda120")
    return Line("DALI", "ok", version) if version else Line("DALI", "missing", "none", "pip install 'medseg[dali]'")


def _server() -> Line:
    from medseg.errors import ServerError
    from medseg.triton_models.wheel import CHOSEN, NVIDIAS, wheel

    try:
        return Line("tritonserver", "ok", str(wheel()))
    except ServerError as error:
        if os.environ.get(CHOSEN):
            return Line("tritonserver", "problem", str(error), f"change {CHOSEN}")
        if (NVIDIAS / "bin" / "tritonserver").is_file():
            return Line("tritonserver", "ok", f"{NVIDIAS}, with `medseg serve --tritonserver {NVIDIAS}`")
        return Line("tritonserver", "missing", "none", "medseg server install")


def _memory() -> Line:
    if not SHARED_MEMORY.is_dir():
        return Line("shared memory", "missing", "no /dev/shm", "send tensors over HTTP")
    free, wanted = shutil.disk_usage(SHARED_MEMORY).free, LARGEST_TENSOR_BYTES
    fact = f"{free / 2**20:.0f} MiB free, the largest tensor takes {wanted / 2**20:.0f} MiB"
    if free < 2 * wanted:
        return Line("shared memory", "problem", fact, "start the container with --shm-size=2g")
    return Line("shared memory", "ok", fact)


def _ports() -> Iterator[Line]:
    for name, port in PORTS.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        remedy = f"stop what listens there, or choose another --{name}-port"
        yield Line(f"port {port} ({name})", *(("problem", "in use", remedy) if taken else ("ok", "free", "")))


def _version(module: str, *distributions: str) -> str:
    """A package's version without importing it; "" where it is not installed under any of these names."""
    try:
        if importlib.util.find_spec(module) is None:
            return ""
    except ModuleNotFoundError:  # not even its parent
        return ""
    for name in distributions or (module,):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""
