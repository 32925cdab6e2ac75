"""How much freed memory a process keeps for later; with glibc only, other C libraries are left as they are.

Returning tensors of megabytes to the kernel and getting them again, page by page, cost 5 % of a CT's time. If they are
kept for ever, a process stays large after one large request. So freed memory is kept for some seconds.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from threading import Event

# For tritonserver, which has no thread of ours to trim it, and for the front, which forwards bytes: one malloc arena.
# With glibc's default of one arena per thread, a server kept 165 MB after many requests at once. In the front, blocks
# larger than 128 KiB are returned at once when they are freed. Not in tritonserver, whose environment its python
# processes inherit: there, this made DALI keep 64 MB of a large picture.
SERVER = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(128 << 10)}
FRONT = SERVER | {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENAS = -1, -3, -8  # glibc's numbers for mallopt
_KEPT = 32 << 20  # bytes, the most that glibc takes for the second
TRIM_SECONDS = 10.0
_settled = Event()


def keep() -> None:
    """From now on this process keeps freed memory, up to some megabytes in each of two arenas, until it is trimmed."""
    with suppress(AttributeError):
        for option, value in ((_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _KEPT), (_ARENAS, 2)):
            ctypes.CDLL(None).mallopt(option, value)


def settle() -> None:
    """Exclude all present objects from garbage collection: Python need not search them again."""
    gc.collect()
    gc.freeze()
    _settled.set()


def trim() -> None:
    """Return kept and unused memory to the kernel; not before the process is settled."""
    if not _settled.is_set():
        return
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
