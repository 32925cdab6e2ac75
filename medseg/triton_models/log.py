"""tritonserver's log: made for this user alone, and read for the reason of a failure."""

from __future__ import annotations

import os
import re
from pathlib import Path

from medseg.errors import InputError

_HARMLESS = ("CUDA driver", "CudaDriverHelper")  # errors that every start without a GPU has
_CRASH = re.compile(r"terminate called after throwing an instance of '(.+)'")


def emptied(log: Path) -> None:
    """An empty log, for this user alone: it may quote what clients sent. Raises InputError if it cannot be written."""
    try:
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        log.chmod(0o600)
    except OSError as error:
        raise InputError(f"--log {log} cannot be written ({error.strerror}); expected a file's path") from error


def reason(log: Path, since: int) -> str:
    """What the log says after its first `since` bytes: why a model did not load, why it crashed, or its last error."""
    with log.open("rb") as file:
        file.seek(since)
        text = file.read().decode(errors="replace")
    errors = [
        line
        for line in re.findall(r"^E\d{4} .*?\] (.*)$", text, re.MULTILINE)
        if not any(words in line for words in _HARMLESS)
    ]
    load = [line for line in errors if "failed to load" in line or "Poll failed" in line]
    crashes = [f"it crashed ({name})" for name in _CRASH.findall(text)]
    return f"{[*load, *crashes, *errors[-1:], 'it says nothing'][0]} (log: {log})"
