"""A zip of slices or volumes, unpacked into a folder that is removed when it is no longer needed."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from medseg.errors import InputError
from medseg.scratch import Scratch

_MOST_BYTES = 32 << 30
_MOST_FILES = 100_000
_FREE_BYTES = 64 << 20  # any archive may unpack to this many bytes more
_MOST_TIMES = 100  # times the archive's own size: a CT packs to a third, a mask to a hundredth


def unpacked(path: Path) -> Scratch:
    """A folder with the archive's files, in a subfolder with the archive's name. It is removed with the object.

    Raises InputError for an archive that is damaged, has a password, would write outside of the folder, or unpacks to
    too much.
    """
    folder = Scratch("zip")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check(path, entries)
            for entry in entries:
                _write(archive, entry, Path(folder.name, path.name, *PurePosixPath(entry.filename).parts))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be unpacked ({type(error).__name__}); expected a complete zip without a password: copy it "
            "again"
        ) from error
    return folder


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    held, most = sum(entry.file_size for entry in entries), _MOST_TIMES * path.stat().st_size + _FREE_BYTES
    if len(entries) > _MOST_FILES or held > min(most, _MOST_BYTES):
        raise InputError(
            f"{path} unpacks to {len(entries)} files of {held} bytes; expected no more than a CT needs: unpack it "
            "yourself"
        )
    names = [entry.filename for entry in entries]
    outside = [name for name in names if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name]
    if outside or any(":" in name.split("/")[0] for name in names):
        raise InputError(f"{path} holds names that lead out of its folder; expected simple names: unpack it yourself")
    if len(set(names)) < len(names):
        raise InputError(f"{path} holds two files with the same name; expected each once: pack it again")


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Write one file; zipfile checks its checksum, and gives no more bytes than the entry's size, which was counted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
