"""Triton's words for its internal problems, and the sentence that a client gets instead: it may try again."""

from __future__ import annotations

import re

UNWELCOME = (
    "this server is restricted to clients that send its token; over grpcs:// medseg sends the token in the file that "
    "MEDSEG_TOKEN_FILE names: set it"
)
AWAY = "the server is starting; try again in a few seconds"
_DIED = re.compile(r"Stub process .*is not healthy", re.DOTALL)
_FULL = re.compile(r"Failed to (?:increase|initialize) (?:the )?shared memory|No space left on device", re.DOTALL)
LOST = "a process of the server died while this request waited for it; it is being replaced: send the request again"
NO_ROOM = (
    "the server's shared memory, /dev/shm, has no room for this request's tensors; expected more of it (a container's "
    "--shm-size): send a smaller request, or this one again when there is room"
)


def died(said: str) -> bool:
    """Whether a python process died that was to answer."""
    return _DIED.search(said) is not None


def trouble(said: str) -> str:
    """The sentence for a fault of the server itself, which no request caused; "" for anything else."""
    return LOST if died(said) else NO_ROOM if _FULL.search(said) else ""
