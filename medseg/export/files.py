"""Files of an export: whole and recorded, or not there at all."""

from __future__ import annotations

from typing import Any

from medseg.errors import ExportError
from medseg.run import Run


def add(run: Run, name: str, content: bytes, facts: dict[str, Any]) -> None:
    """Write a file to the run and record it. Raises ExportError where it cannot be written; nothing changed then."""
    try:
        with run.adding(name, facts) as path:
            path.write_bytes(content)
    except OSError as error:
        reason = f"{run.path / name} cannot be written ({error.strerror}, {len(content) / 1e6:.1f} MB)"
        raise ExportError(f"{reason}; expected room and permission in the run's folder: make room") from error
