"""The groups of packages, data and weights that a machine with Python 3.12, PyTorch and CUDA 13 still lacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.gpu.carried.stubs import make_stubs
from medseg.errors import InputError

ROOT = Path(__file__).parents[3]
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 26, 24, 17)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]
PATIENT = "TCGA_CS_4941_19960909"  # one patient of LGG; the group `lgg` has all


@dataclass(frozen=True)
class Gathering:
    """Where a group is gathered, and from which folders."""

    folder: Path  # what will be packed
    scratch: Path
    shared: Path | None  # the folder with `data` and `weights`
    runs: Path | None  # fitted runs to include


@dataclass(frozen=True)
class Group:
    """What is packed together, and how it is gathered. `packages` have the versions that are installed here."""

    what: str
    packages: tuple[str, ...] = ()
    python: str = "3.12"
    more: Callable[[Gathering], None] = lambda _: None


def gathered(name: str, to: Gathering) -> None:
    """Gather a group's packages below `site`, and everything else that belongs to it."""
    group = GROUPS[name]
    if group.packages:
        wheels = to.scratch / f"wheels-{name}"
        _download(group, wheels)
        _unzip(sorted(wheels.glob("*.whl")), to.folder / "site")
    group.more(to)
    for folder in list(to.folder.rglob("__pycache__")):
        shutil.rmtree(folder)


def pinned(packages: Sequence[str]) -> list[str]:
    """The packages with versions: if none is named, the version that is installed here, because it is tested."""
    return [name if "=" in name or "<" in name else _installed(name) for name in packages]


def _installed(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def _download(group: Group, to: Path) -> None:
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    how = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", group.python]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *how, *platforms, "--dest", str(to)]
    wanted = group.packages if group.python < "3.11" else pinned(group.packages)  # ours need a newer Python
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"packages of {group.what} cannot be had ({reason}); expected them from the package index")


def _unzip(wheels: Sequence[Path], to: Path) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as held:
            held.extractall(to)


def _base(to: Gathering) -> None:
    """medseg's own wheel with the kit and its tests, small data, weights, and fitted runs."""
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(to.scratch), str(ROOT)]
    subprocess.run(wheel, check=True)
    _unzip(sorted(to.scratch.glob("medseg-*.whl")), to.folder / "site")
    for name in ("benchmarks", "tests"):
        shutil.copytree(ROOT / name, to.folder / "checkout" / name)
    for name in ("pyproject.toml", "docs/gpu.md"):
        _copy(ROOT / name, to.folder / "checkout" / name)
    if to.runs:
        shutil.copytree(to.runs, to.folder / "runs")
    if to.shared:
        _small_data(to.shared, to.folder / "shared")


def _small_data(shared: Path, to: Path) -> None:
    """The published weights, both GI slices, one brain and six STAS pictures, but not the CT of 45 MB."""
    shutil.copytree(shared / "weights", to / "weights")
    shutil.copytree(shared / "data/gi_tract", to / "data/gi_tract")
    brains = "data/brain_lgg/kaggle_3m"
    shutil.copytree(shared / brains / PATIENT, to / brains / PATIENT)
    pictures = "data/stas/SEG_Train_Datasets"
    for picture in sorted((shared / pictures / "Train_Images").glob("*.jpg"))[:6]:
        for file in (shared / pictures).rglob(f"{picture.stem}.*"):
            _copy(file, to / file.relative_to(shared))


def _ct(to: Gathering) -> None:
    """LUNA's CT with its tables."""
    if to.shared is None:
        raise InputError("group 'luna' needs LUNA's CT; expected it below --shared in data/luna")
    shutil.copytree(to.shared / "data/luna", to.folder / "shared/data/luna", ignore=shutil.ignore_patterns("froc"))


def _lgg(to: Gathering) -> None:
    """All brains of the data folder."""
    if to.shared is None:
        raise InputError("group 'lgg' needs brains; expected them below --shared in data/brain_lgg")
    shutil.copytree(to.shared / "data/brain_lgg", to.folder / "shared/data/brain_lgg")


def _server(to: Gathering) -> None:
    """Keep only Python 3.12's stub of the server's wheel."""
    for stub in (to.folder / "site/pytriton/tritonserver/python_backend_stubs").iterdir():
        if stub.name != "3.12":
            shutil.rmtree(stub)


def _dali(to: Gathering) -> None:
    """Remove headers, tools, and files for other Python versions."""
    for pattern in ("nvidia/*/include", "nvidia/*/tools", "nvidia/libnvcomp/bin"):
        for folder in list((to.folder / "site").glob(pattern)):
            shutil.rmtree(folder)
    for file in list((to.folder / "site/nvidia").rglob("*.cpython-*")):
        if ".cpython-312-" not in file.name:
            file.unlink()


def _tensorrt8(to: Gathering) -> None:
    """TensorRT 8.5 supports sm90 and has a complete wheel, up to Python 3.10; so that Python is included."""
    ask = "import sys, sysconfig; print(sys.base_prefix, sysconfig.get_config_var('LIBDIR'))"
    program = shutil.which("python3.10")
    told = subprocess.run([program, "-c", ask], capture_output=True, text=True).stdout.split() if program else []
    if len(told) != 2:
        raise InputError("group 'tensorrt8' needs Python 3.10; expected python3.10 on the PATH, and that it starts")
    prefix, libraries = told
    python = to.folder / "python"
    _copy(Path(prefix) / "bin/python3.10", python / "bin/python3.10")
    for library in Path(libraries).glob("libpython3.10.so.1.0"):
        _copy(library, python / "lib" / library.name)
    left_out = shutil.ignore_patterns(
        "test", "site-packages", "config-3.10*", "idlelib", "tkinter", "lib2to3", "ensurepip"
    )
    shutil.copytree(Path(prefix) / "lib/python3.10", python / "lib/python3.10", ignore=left_out)
    make_stubs(to.folder / "site/tensorrt/libnvinfer_plugin.so.8", to.folder / "stubs")
    starter = python / "bin/tensorrt8"
    starter.write_text(_STARTER)
    starter.chmod(0o755)


_STARTER = """#!/bin/sh
# Python 3.10 with TensorRT 8: medseg comes from the PYTHONPATH that it is given
here=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONHOME="$here/python" PYTHONPATH="$here/site:$PYTHONPATH"
export LD_LIBRARY_PATH="$here/stubs:$here/python/lib:$here/site/tensorrt"
exec "$here/python/bin/python3.10" "$@"
"""


def _rtx(to: Gathering) -> None:
    """A package of the name that medseg imports, which imports the bindings; the original is a source package."""
    name = to.folder / "site/tensorrt_rtx/__init__.py"
    name.parent.mkdir()
    lines = ("from tensorrt_rtx_bindings import *", "from tensorrt_rtx_bindings import __version__", "")
    name.write_text("\n".join(lines))


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, to)


_OWN = ("array-api-compat", "connected-components-3d", "defusedxml", "nibabel", "pydicom", "simpleitk", "simplejpeg")
_TORCH = ("segmentation-models-pytorch", "monai", "onnxscript", "onnx-ir", "onnx", "ml-dtypes", "torchmetrics")
_TESTS = ("highdicom", "pyjpegls", "pytest-timeout", "protobuf", "nvidia-ml-py", "cuda-bindings", "cuda-pathfinder")
_CLIENT = ("tritonclient", "python-rapidjson", "geventhttpclient", "gevent", "greenlet", "brotli", "zope-event", "h11")
_SERVER = (
    "zope-interface",
    "pyzmq",
    "sh",
    "typing-inspect",
    "mypy-extensions",
    "wrapt",
    "grpcio",
    "importlib-metadata",
)
_FEEDS = (
    "nvidia-nvimgcodec-cu13",
    "nvidia-libnvcomp-cu13",
    "nvidia-nvjpeg",
    "astunparse",
    "six",
    "gast",
    "optree",
    "nvtx",
)
_RUNS8 = ("numpy==2.2.6", "onnx", "ml-dtypes", "protobuf", "cuda-bindings<13.1", "cuda-pathfinder", "psutil", "joblib")
GROUPS = {
    "base": Group("medseg, what it needs, small data and weights", (*_OWN, *_TORCH, *_TESTS), more=_base),
    "luna": Group("LUNA's CT", more=_ct),
    "triton": Group("the server and its client", ("nvidia-pytriton", *_CLIENT, *_SERVER, "zipp"), more=_server),
    "tensorrt8": Group(
        "TensorRT 8.5 with its Python",
        ("tensorrt==8.5.3.1", *_RUNS8, "array-api-compat", "defusedxml", "tqdm", "typing-extensions"),
        python="3.10",
        more=_tensorrt8,
    ),
    "dali": Group("DALI", ("nvidia-dali-cuda130", *_FEEDS, "wheel", "makefun", "libcst"), more=_dali),
    "lgg": Group("all brains", more=_lgg),
    "rtx": Group(
        "TensorRT-RTX, for GPUs other than sm90", ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings"), more=_rtx
    ),
}
