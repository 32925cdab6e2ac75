"""Compressed frames of DICOM, decoded by ITK in separate processes, because damaged frames can crash its codecs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.scratch import Scratch
from medseg.task import Array

_SECONDS = 60  # the timeout of a process, which starts and decodes in this time
_SECONDS_EACH = 5  # added to the timeout for each frame
_LEAST = 32  # frames per process: with fewer, one more process does not pay
_DAMAGE = ("corrupt", "premature", "bogus", "invalid", "unexpected")  # codecs print these words and still continue


def decoded(files: Sequence[bytes]) -> list[Array | str]:
    """For each DICOM file with one frame: its stored values (rows, columns), or why they cannot be decoded."""
    with Scratch("frames") as folder:
        paths = [Path(folder, f"{index}.dcm") for index in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        workers = max(1, min(len(os.sched_getaffinity(0)), len(paths) // _LEAST))
        size = -(-len(paths) // workers)
        parts = [paths[start : start + size] for start in range(0, len(paths), size)]
        running = [(part, _started(part)) for part in parts]
        troubles = {path: why for part, process in running for path, why in _ended(part, process).items()}
        return [troubles.get(path) or _frame(path) for path in paths]


def _started(paths: Sequence[Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "medseg.data.codestream", *map(str, paths)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def _ended(paths: Sequence[Path], process: subprocess.Popen[str]) -> dict[Path, str]:
    """Wait for the process, until its timeout, and say what went wrong with which of these files."""
    try:
        said, _ = process.communicate(timeout=_SECONDS + _SECONDS_EACH * len(paths))
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    troubles, last = {}, paths[0]
    for line in said.splitlines():
        if line.startswith("frame "):
            last = Path(line.removeprefix("frame "))
        elif any(word in line.lower() for word in _DAMAGE):
            troubles[last] = f"its decoder reports {line.strip()}"
    unread = [path for path in paths if not path.with_suffix(".npy").exists()]
    return dict.fromkeys(unread, "its compressed pixels cannot be decoded") | troubles


def _frame(path: Path) -> Array:
    found: Array = np.load(path.with_suffix(".npy"))
    return found


def _decode(paths: Sequence[str]) -> None:
    """Decode each file to a .npy beside it. Its name is printed first, so that a codec's message can be assigned."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    for path in paths:
        print("frame", path, flush=True)
        try:
            values = sitk.GetArrayFromImage(sitk.ReadImage(path))
        except RuntimeError:
            continue
        np.save(Path(path).with_suffix(".npy"), values)


if __name__ == "__main__":
    _decode(sys.argv[1:])
