"""The files of a folder: which may hold a slice, and which often lie beside slices but hold none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import InputError

_SILENT_NAMES = {"thumbs.db", "desktop.ini", "dicomdir", "lockfile", "version", "autorun.inf"}
_SILENT_STEMS = ("readme", "license", "licence", "changelog", "checksums", "md5sums", "sha256sums")
_SILENT_SUFFIXES = {".json", ".csv", ".tsv", ".txt", ".md", ".rst", ".log", ".yaml", ".yml", ".md5", ".sha256"}
_PIXEL_SUFFIXES = {".raw", ".zraw", ".bin", ".gz"}  # a header in the same folder may name such a file
_HEADERS = (".mhd", ".nhdr", ".nrrd")
_NAMED_SUFFIXES = {  # documents, pictures and programs of viewers: left out, with a note
    *(".html", ".htm", ".xhtml", ".xml", ".xsl", ".pdf", ".doc", ".docx", ".rtf", ".xls", ".xlsx", ".ps", ".js"),
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".ico", ".webp", ".mp4", ".avi", ".mpg"),
    *(".exe", ".dll", ".so", ".dylib", ".jar", ".bat", ".cmd", ".sh", ".py", ".ini", ".inf", ".cfg", ".db", ".sqlite"),
    *(".zip", ".tar", ".tgz", ".7z", ".rar", ".npy", ".npz", ".pkl", ".mat", ".stl", ".obj", ".vtk", ".mrb", ".bak"),
}
_SKIPPED_FOLDERS = {"__MACOSX", "$RECYCLE.BIN", "System Volume Information"}
_MOST_FILES = 1_000_000


def plain_files(folder: Path) -> list[Path]:
    """Every file in the folder and its subfolders, sorted in each. Each folder is visited once, links are followed.

    Hidden files and devices are left out. Raises InputError for more than 1,000,000 files.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        paths = (Path(root, name) for name in names if not name.startswith("."))
        found += sorted(path for path in paths if is_plain(path))
        if len(found) > _MOST_FILES:
            raise InputError(f"{folder} holds over {_MOST_FILES} files; expected a folder of CTs: name a smaller one")
    return found


def is_plain(path: Path) -> bool:
    """Whether it is a regular file: no folder, device, pipe or broken link."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def is_known(path: Path) -> bool:
    """Whether a file that is not DICOM usually lies beside slices, so that no note is needed."""
    name = path.name.lower()
    return (
        name in _SILENT_NAMES
        or name.startswith(_SILENT_STEMS)
        or path.suffix.lower() in _SILENT_SUFFIXES
        or (path.suffix.lower() in _PIXEL_SUFFIXES and any(_beside(path.parent)))
    )


def is_foreign(path: Path) -> bool:
    """Whether the suffix shows that a file is not DICOM but a document, a picture or a program."""
    return path.suffix.lower() in _NAMED_SUFFIXES


def _beside(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in _HEADERS)
