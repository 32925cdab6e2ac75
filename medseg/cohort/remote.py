"""Remote files: s3://, gs://, http(s):// and everything that fsspec opens; downloaded and uploaded case by case."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from medseg.cohort.sources import PIXELS
from medseg.data.voxels import stem
from medseg.errors import InputError, MedsegError, PackageError, ServerError

_HEADERS = (".mhd", ".nhdr", ".hdr")
_WILD = set("*?[")
_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "az"}  # they have no folders: a mistyped name would become a new bucket
_OWN_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_remote(text: str) -> bool:
    """Whether a text is an address rather than a path."""
    return "://" in text


def expanded(url: str) -> list[str]:
    """The addresses that match one with * ? or [], sorted; others as they are. Raises InputError if none matches."""
    if urlsplit(url).scheme in ("http", "https") or not _WILD & set(url):
        return [url]
    with _opened(url) as (files, path):
        found = sorted(files.glob(path))
        if not found:
            raise InputError(f"{url} matches nothing; expected an address with * that matches files: check it")
        return [files.unstrip_protocol(one) for one in found]


def fetched(url: str, folder: Path) -> Path:
    """Copy a remote file into a folder, with the pixel files beside a header; or a remote folder (address ends in /).

    Raises InputError if it cannot be read.
    """
    with _opened(url) as (files, path):
        name = PurePosixPath(path.rstrip("/")).name or "input"
        target = folder / name
        if url.endswith("/"):
            files.get(path.rstrip("/") + "/", f"{target}/", recursive=True)
            if not target.is_dir():
                raise InputError(f"{url} holds nothing; expected a folder of one case: check the address")
            return target
        files.get_file(path, str(target))
        if target.suffix.lower() in _HEADERS:
            for suffix in PIXELS:
                beside = f"{path.removesuffix(name)}{stem(target)}{suffix}"
                if files.exists(beside):
                    files.get_file(beside, str(folder / f"{stem(target)}{suffix}"))
        return target


def sent(source: Path, url: str) -> None:
    """Copy a file, or all files of a folder, to an address. Raises InputError if that is not possible."""
    with _opened(url) as (files, path):
        for one in [source] if source.is_file() else sorted(source.rglob("*")):
            if one.is_file():
                below = one.name if one == source else one.relative_to(source).as_posix()
                target = f"{path}/{below}"
                if urlsplit(url).scheme not in _STORES:
                    files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                files.put_file(str(one), target)


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, str]]:
    """An address's file system and the path in it; its errors become a MedsegError of one sentence.

    Each kind of file system raises exceptions of its own: whatever is not known here is a ServerError, as the same
    address may answer later.
    """
    import fsspec

    try:
        yield fsspec.core.url_to_fs(url)
    except FileNotFoundError as error:
        raise InputError(f"{url} is not there; expected a file or, ending in /, a folder: check the address") from error
    except PermissionError as error:
        raise InputError(
            f"{url} may not be read; expected an address for which you have access: check your credentials"
        ) from error
    except ImportError as error:
        raise PackageError(
            f"{url} cannot be opened ({error}); expected its package: install it beside fsspec"
        ) from error
    except ValueError as error:
        raise InputError(f"{url} cannot be opened ({error}); expected s3://, gs:// or http(s)://: check it") from error
    except Exception as error:
        if isinstance(error, MedsegError) or (isinstance(error, OSError) and error.errno in _OWN_DISK):
            raise
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise ServerError(
            f"{url} cannot be reached ({type(error).__name__}: {reason}); expected a server that answers, and your "
            "credentials where it needs them: check both, then give the same command again"
        ) from error
