"""Folders as parts of a bounded size, and back.

A part consists of complete xz streams of one tar archive. So all cores can work on them, and any xz and tar can read
them too: `cat NAME.*.xz | xz -d | tar x`. NAME.json holds each part's size and sha256.
"""

from __future__ import annotations

import json
import lzma
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medseg.errors import InputError
from medseg.files import sha256, whole_file

_LARGEST_BLOCK = 32 << 20  # bytes that are compressed at a time
_ROOM = 64  # data that cannot be compressed grows by less than a 64th


def pack(folder: Path, out: Path, name: str, limit: int) -> list[Path]:
    """Pack the folder's files into parts NAME.00.xz and so on of at most `limit` bytes, and their list NAME.json."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob(f"{name}.*.xz"), *out.glob(f"{name}.json")):
        old.unlink()
    with TemporaryDirectory(dir=out) as scratch:
        tar = Path(scratch) / "whole.tar"
        _write_tar(folder, tar)
        parts = list(_parts(tar, out, name, limit))
    held = [{"file": part.name, "bytes": part.stat().st_size, "sha256": sha256(part)} for part in parts]
    with whole_file(out / f"{name}.json") as path:
        path.write_text(json.dumps({"group": name, "parts": held}, indent=1) + "\n")
    return parts


def unpack(manifest: Path, folder: Path) -> None:
    """Unpack the parts that a list names. Raises InputError for a part that is missing or changed."""
    parts = [_sound(manifest.parent / held["file"], held) for held in json.loads(manifest.read_text())["parts"]]
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        plain = [Path(scratch) / f"{number:03}" for number, _ in enumerate(parts)]
        with ProcessPoolExecutor(_cores()) as pool:
            list(pool.map(_inflate, parts, plain))
        tar = Path(scratch) / "whole.tar"
        with tar.open("wb") as out:
            for piece in plain:
                out.write(piece.read_bytes())
                piece.unlink()
        with tarfile.open(tar) as archive:
            archive.extractall(folder, filter="data")


def _write_tar(folder: Path, tar: Path) -> None:
    """Write every file of the folder, sorted by name, without owner and time."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    with tarfile.open(tar, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() or file.is_symlink():
                archive.add(file, str(file.relative_to(folder)), recursive=False, filter=plain)


def _parts(tar: Path, out: Path, name: str, limit: int) -> Iterator[Path]:
    """Write the parts; each takes blocks while they fit. Yields each part's path."""
    size = min(_LARGEST_BLOCK, limit - limit // _ROOM - 4096)
    if size <= 0:
        raise InputError(f"a part of {limit} bytes holds nothing; expected at least 8192 bytes: choose larger ones")
    starts = range(0, tar.stat().st_size, size)
    part, held = bytearray(), 0
    with ProcessPoolExecutor(_cores()) as pool:
        for block in pool.map(partial(_deflate, tar, size), starts):
            if part and len(part) + len(block) > limit:
                yield _written(out / f"{name}.{held:02}.xz", part)
                part, held = bytearray(), held + 1
            part += block
    yield _written(out / f"{name}.{held:02}.xz", part)


def _written(file: Path, content: bytearray) -> Path:
    file.write_bytes(content)
    return file


def _deflate(tar: Path, size: int, start: int) -> bytes:
    with tar.open("rb") as source:
        source.seek(start)
        return lzma.compress(source.read(size))


def _inflate(part: Path, to: Path) -> None:
    to.write_bytes(lzma.decompress(part.read_bytes()))


def _sound(part: Path, held: dict[str, Any]) -> Path:
    """The part, if it is unchanged since it was packed."""
    if not part.is_file() or part.stat().st_size != held["bytes"] or sha256(part) != held["sha256"]:
        state = "changed" if part.is_file() else "missing"
        expected = f"{held['bytes']} bytes with sha256 {held['sha256']}"
        raise InputError(f"{part} is {state}; expected {expected}: bring it here again")
    return part


def _cores() -> int:
    return len(os.sched_getaffinity(0))
