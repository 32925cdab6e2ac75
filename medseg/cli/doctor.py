"""`medseg doctor`: what this machine can run, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from medseg.engines import ENGINES
from medseg.run import Run

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
SHARED_MEMORY = Path("/dev") / "shm"  # where POSIX keeps it
LARGEST_TENSOR_BYTES = 512 * 512 * 768 * 2  # a long CT as int16, the largest input of all tasks
DISTRIBUTIONS = {"tensorrt": "tensorrt-cu12", "tensorrt_rtx": "tensorrt-rtx-cu12"}


@dataclass(frozen=True)
class Line:
    """One finding: what, its state (ok, missing or problem), the fact, and the remedy where there is one."""

    what: str
    state: str
    fact: str
    remedy: str = ""


def doctor(
    runs: Annotated[
        list[Path] | None, typer.Option("--run", help="A run whose TensorRT files are compared with this machine.")
    ] = None,
    image_tensorrt: Annotated[
        str, typer.Option(help="The TensorRT version in a Triton image (see its release notes), to compare plans with.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Tell what this machine can run: GPU, engines, DALI, tritonserver, shared memory, ports.

    Example: medseg doctor --run runs/luna-segment --image-tensorrt 10.13.3
    """
    import json as text

    lines = [*_gpu(), *_engines(), *_plans(runs or [], image_tensorrt), _dali(), _server(), _memory(), *_ports()]
    if json:
        typer.echo(text.dumps([asdict(line) for line in lines], indent=2))
        return
    for line in lines:
        remedy = f"; {line.remedy}" if line.remedy else ""
        typer.echo(f"{line.state:8} {line.what:20} {line.fact}{remedy}")


def _gpu() -> Iterator[Line]:
    from medseg.engines.gpu import driver_version, gpu_name

    capability, driver = gpu_name(), driver_version()
    remedy = "install NVIDIA's driver, or use the CPU engines"
    yield Line("NVIDIA driver", "ok", driver) if driver else Line("NVIDIA driver", "missing", "none", remedy)
    yield Line("GPU", "ok", capability) if capability else Line("GPU", "missing", "none found", "use the CPU engines")


def _engines() -> Iterator[Line]:
    for name, (_, package, extra, _) in ENGINES.items():
        version = _version(package)
        if version:
            yield Line(f"engine {name}", *_usable(name, version))
        else:
            yield Line(f"engine {name}", "missing", f"no package {package!r}", f"pip install 'medseg[{extra}]'")


def _usable(engine: str, version: str) -> tuple[str, str, str]:
    """State, fact and remedy of an engine that is installed: TensorRT's build and open on a GPU alone, but for one."""
    from medseg.engines.gpu import gpu_name

    if engine == "onnxruntime":
        import onnxruntime

        return "ok", f"{version}, {', '.join(onnxruntime.get_available_providers())}", ""
    if engine == "openvino":
        import openvino

        return "ok", f"{version}, {', '.join(openvino.Core().available_devices)}", ""
    if engine.startswith("tensorrt") and not gpu_name():
        builds = "builds engines here but cannot open them" if engine == "tensorrt-rtx" else "needs a GPU for both"
        return "problem", f"{version}, no GPU: {builds}", "open them on a machine with the GPU they are built for"
    return "ok", version, ""


def _plans(runs: list[Path], image: str) -> Iterator[Line]:
    """Each TensorRT file of the runs against this machine, or against a Triton image's TensorRT version."""
    from medseg.engines.gpu import gpu_name
    from medseg.engines.tensorrt import unfit

    for run in map(Run, runs):
        for name, facts in run.files.items():
            if "gpu" not in facts:
                continue
            what = f"{run.path / name}"
            if image and facts["engine"] == "tensorrt":
                reason = unfit({"version": facts["version"]}, facts["gpu"], image)
            else:
                reason = unfit(facts, gpu_name(), _version(facts["engine"].replace("-", "_")))
            yield Line(what, "problem", "cannot be opened", reason) if reason else Line(what, "ok", facts["version"])


def _dali() -> Line:
    version = _version("nvidia.dali", "nvidia-dali-cuda130")
    return Line("DALI", "ok", version) if version else Line("DALI", "missing", "none", "pip install 'medseg[dali]'")


def _server() -> Line:
    found = importlib.util.find_spec("pytriton")
    wheel = Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None
    binary = wheel / "tritonserver" / "bin" / "tritonserver" if wheel else None
    if binary and binary.is_file():
        return Line("tritonserver", "ok", f"nvidia-pytriton {_version('pytriton', 'nvidia-pytriton')}")
    elsewhere = shutil.which("tritonserver")
    remedy = "pip install 'medseg[triton]'"
    return Line("tritonserver", "ok", elsewhere) if elsewhere else Line("tritonserver", "missing", "none", remedy)


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


def _version(module: str, distribution: str = "") -> str:
    """A package's version without importing it; "" where it is not installed."""
    try:
        if importlib.util.find_spec(module) is None:
            return ""
        return importlib.metadata.version(distribution or DISTRIBUTIONS.get(module, module))
    except (ModuleNotFoundError, importlib.metadata.PackageNotFoundError):
        return ""
