"""Files elsewhere: s3://, gs://, http(s):// and whatever else fsspec opens, fetched for a case and sent after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from medseg.cohort.sources import PIXELS
from medseg.data.voxels import stem
from medseg.errors import InputError, PackageError

_HEADERS = (".mhd", ".nhdr", ".hdr")
_WILD = set("*?[")


def is_remote(text: str) -> bool:
    """Whether a text is an address rather than a path."""
    return "://" in text


def expanded(url: str) -> list[str]:
    """The addresses that an address with * ? or [] stands for, sorted; any other as it is."""
    if urlsplit(url).scheme in ("http", "https") or not _WILD & set(url):
        return [url]
    with _opened(url) as (files, path):
        found = sorted(files.glob(path))
        if not found:
            raise InputError(f"{url} matches nothing; expected an address with * that matches files: check it")
        return [files.unstrip_protocol(one) for one in found]


def fetched(url: str, folder: Path) -> Path:
    """A remote file, with what its header names beside it, or folder (its address ends in /), copied into a folder."""
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
    """Copy a file, or all files of a folder, to below an address."""
    with _opened(url) as (files, path):
        for one in [source] if source.is_file() else sorted(source.rglob("*")):
            if one.is_file():
                below = one.name if one == source else one.relative_to(source).as_posix()
                target = f"{path}/{below}"
                files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                files.put_file(str(one), target)


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of an address and the path in it, with its troubles as one sentence."""
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
