"""Disks: what the operating system refuses about files that a person named, as one sentence."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {
    errno.EACCES: "a file and a folder that you may use: change the permissions, or choose another path",
    errno.EPERM: "a file and a folder that you may use: change the permissions, or choose another path",
    errno.EROFS: "a file system that can be written to: choose another path",
    errno.ENOTDIR: "a folder, but there is a file: choose another path",
    errno.EEXIST: "a folder, but there is a file: choose another path",
    errno.EISDIR: "a file, but there is a folder: choose another path",
    errno.ENOTEMPTY: "a file or an empty folder there: choose another path",
    errno.ENOENT: "an existing file or folder: check the path",
    errno.ENAMETOOLONG: "a shorter name: choose another path",
    errno.ELOOP: "a path without circular links: choose another path",
    errno.EIO: "a disk that works: check it",
    errno.ESTALE: "a disk that is there: mount it again",
    errno.EBUSY: "a file or folder that no program is using: choose another path",
    errno.ETXTBSY: "a file that is not a running program: choose another path",
}


def of_a_disk(error: OSError, words: Sequence[str]) -> str:
    """The sentence for an error about a full disk, or about a path among the words of a command line.

    Any other error is a fault of medseg's own: it is raised again, with its traceback.
    """
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's last flush is silent
        return "nobody reads the output any more; the rest is not printed"
    path = os.fsdecode(error.filename2 or error.filename or "") if not isinstance(error.filename, int) else ""
    if error.errno in _FULL:
        where = f"{path} cannot be written" if path else "a file cannot be written"
        return f"{where} ({error.strerror}); expected room for it: make room, or choose another disk"
    if error.errno in _REFUSED and path and _named(Path(path), words):
        return f"{path} cannot be used ({error.strerror}); expected {_REFUSED[error.errno]}"
    raise error


def _named(path: Path, words: Sequence[str]) -> bool:
    """Whether a path is one of the words, lies below one, or is a folder above one; relative paths always count."""
    if not path.is_absolute():
        return True
    named = [Path(word.partition("=")[2] if word.startswith("--") else word).absolute() for word in words]
    return any(path == one or one in path.parents or path in one.parents for one in named)
