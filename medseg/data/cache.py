"""A cache of arrays: they are made once, in parallel, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

from medseg.task import Array


def cache_folder() -> Path:
    """The folder for cached arrays: $MEDSEG_CACHE, else ~/.cache/medseg."""
    return Path(os.environ.get("MEDSEG_CACHE", Path.home() / ".cache" / "medseg"))


def fingerprint(source: Path, *arguments: object) -> str:
    """A digest of the source and of the arguments with which an array is made from it: 24 hexadecimal digits.

    The source is a file, or all files of a folder; their paths, sizes and times count, not their content.
    """
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    text = repr((facts, arguments))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def build(make: Callable[..., Array], jobs: Mapping[Path, tuple[Any, ...]], title: str, workers: int = 0) -> None:
    """Write `make(*arguments)` as .npy to every path of `jobs` that does not exist yet; progress goes to stderr.

    Each file appears whole or not at all, so the next build continues where an interrupted one stopped. Half-written
    files of a killed build are removed. `workers` 0 means one process per core. `make` and its arguments are pickled.
    """
    from joblib import Parallel, delayed

    missing = {path: arguments for path, arguments in jobs.items() if not path.is_file()}
    _sweep({path.parent for path in jobs})
    workers = min(workers or os.cpu_count() or 1, max(1, len(missing)))
    # loky and not fork: a forked child inherits the thread pools of ITK and torch without their threads, and hangs
    how: dict[str, Any] = {"initializer": _end_with, "initargs": (os.getpid(),)}
    pool = Parallel(workers, backend="loky", return_as="generator_unordered", **how)
    written = pool(delayed(_write)(path, make, arguments) for path, arguments in missing.items())
    for _ in tqdm(written, total=len(missing), desc=title, disable=None, delay=2):
        pass


def _end_with(parent: int) -> None:
    """Make a worker end soon after its parent process is gone; by default it would wait five minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _sweep(folders: Collection[Path]) -> None:
    """Remove half-written arrays whose writer was killed; those of other running builds in the folder stay."""
    for left in (left for folder in folders for left in folder.glob(".*.npy.*")):
        writer = left.suffix.removeprefix(".")
        if writer.isdigit() and not psutil.pid_exists(int(writer)):
            left.unlink(missing_ok=True)


def _write(path: Path, make: Callable[..., Array], arguments: tuple[Any, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, make(*arguments))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
