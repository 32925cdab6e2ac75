"""Cancelled requests: Triton does not tell an ensemble's steps of a cancellation, so the front does.

It gives each request an id, which Triton passes to every step, and writes a file of that name when the client is gone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from uuid import uuid4

from medseg.triton_models.pulse import FOLDER

_ID = re.compile(r"medseg-[0-9a-f]{32}")


def new_id() -> str:
    """An id for a request whose client gave it none."""
    return f"medseg-{uuid4().hex}"


def mark(folder: Path, request: str) -> Path:
    """Mark this request as cancelled; return the file that says so."""
    path = folder / request
    path.touch(0o600)
    return path


def is_marked(request: str) -> bool:
    """Whether a request was cancelled."""
    folder = os.environ.get(FOLDER)
    return bool(folder and _ID.fullmatch(request) and (Path(folder) / request).exists())
