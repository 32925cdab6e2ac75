"""Files of an export: either complete and recorded, or not there at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.errors import ExportError
from medseg.files import whole_file
from medseg.run import Run


def add(run: Run, name: str, content: bytes, facts: dict[str, Any]) -> None:
    """Write a file to the run and record it. Raises ExportError if it cannot be written; then nothing has changed."""
    try:
        with run.adding(name, facts | {"medseg": __version__}) as path:
            path.write_bytes(content)
    except OSError as error:
        raise _unwritten(run.path / name, content, error) from error


def write(path: Path, content: bytes) -> None:
    """Write a file that is not recorded. Raises ExportError if it cannot be written; then nothing has changed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _unwritten(path, content, error) from error


def _unwritten(path: Path, content: bytes, error: OSError) -> ExportError:
    reason = f"{path} cannot be written ({error.strerror}, {len(content) / 1e6:.1f} MB)"
    return ExportError(f"{reason}; expected room and permission in {path.parent}: make room")
