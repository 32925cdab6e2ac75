"""Files written whole or not at all, and known by their bytes."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SPARE = 1 << 16  # bytes


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end: the file appears whole or not at all.

    Its bytes are on the disk before it has its name, and its mode is what the umask leaves. What cannot be written is
    an OSError that names `path`.
    """
    with whole_files(path) as (temporary,):
        yield temporary


@contextmanager
def whole_files(*paths: Path) -> Iterator[list[Path]]:
    """The same for several files: all are on the disk before the first has its name."""
    names = {path.parent / f".{secrets.token_hex(6)}.{path.name}": path for path in paths}
    try:
        for temporary in names:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield list(names)
        except Exception:
            _check_room(*names)  # where the disk is full, that is the reason, whatever a library made of it
            raise
        _check_room(*names)
        for temporary in names:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        for temporary, path in names.items():
            temporary.replace(path)
    except OSError as error:
        refused = names.get(Path(str(error.filename or next(iter(names)))))
        if error.errno and refused:
            raise OSError(error.errno, error.strerror, str(refused)) from error
        raise
    finally:
        for temporary in names:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _check_room(*files: Path) -> None:
    """Raise OSError where the disk has no room for a little more than the files.

    Some libraries, ITK's NIfTI writer for one, say nothing when a full disk takes only half of what they write.
    """
    for file in filter(Path.is_file, files):
        with file.open("r+b") as opened:
            size = opened.seek(0, os.SEEK_END)
            try:
                opened.write(bytes(_SPARE))
                opened.flush()
            finally:
                os.ftruncate(opened.fileno(), size)


@contextmanager
def whole_folder(path: Path, last: str) -> Iterator[Path]:
    """A temporary folder inside the folder `path`, into which its entries move at the end, `last` after all others.

    So what `last` stands for is whole where it is there. Where anything is raised, `path` is as it was before.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=path))
    try:
        yield temporary
        for entry in sorted(temporary.iterdir(), key=lambda entry: entry.name == last):
            if entry.is_dir():
                shutil.rmtree(path / entry.name, ignore_errors=True)
            entry.replace(path / entry.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):  # it holds what was made: all went well
                folder.rmdir()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def present(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named files that are in the folder."""
    return [path for name in names if (path := folder / name).exists()]
