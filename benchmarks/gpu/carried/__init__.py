"""What a machine without network lacks: gathered in groups, copied in parts, and unpacked there."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.carried.groups import GROUPS, Gathering, gathered
from benchmarks.gpu.carried.parts import pack, unpack

_MIB = 2**20
PTH = "medseg-gpu-kit.pth"


def pack_groups(out: Path, names: Sequence[str], limit: int, shared: Path, runs: Path | None) -> None:
    """Gather each group and pack it into parts of at most `limit` bytes; prints the sizes."""
    for name in names:
        with TemporaryDirectory(prefix="gpu-kit-") as scratch:
            folder = Path(scratch) / name
            gathered(name, Gathering(folder, Path(scratch), shared if shared.is_dir() else None, runs))
            parts = pack(folder, out, name, limit)
        sizes = ", ".join(f"{part.stat().st_size / _MIB:.1f}" for part in parts)
        print(f"{name}: {GROUPS[name].what}; {len(parts)} parts of {sizes} MiB")


def unpack_all(parts: Path, to: Path) -> None:
    """Unpack every group below `to`. Then this Python, and those that Triton starts, find their packages.

    Triton's Python processes do not read PYTHONPATH. So a .pth file in this Python's site-packages names the folders.
    """
    for manifest in sorted(parts.glob("*.json")):
        unpack(manifest, to / manifest.stem)
        print(f"{manifest.stem}: in {to / manifest.stem}")
    own = [folder for folder in sorted(to.glob("*/site")) if not (folder.parent / "python").is_dir()]
    found = [str(folder.resolve()) for folder in own]
    place = Path(sysconfig.get_paths()["purelib"]) / PTH
    place.write_text("\n".join(found) + "\n")
    print(f"{place} names them to {sys.executable}")
