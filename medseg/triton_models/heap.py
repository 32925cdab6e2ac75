"""How much of what a process has freed it keeps for what comes next; by glibc, other libraries do as they do.

To give tensors of megabytes back to the kernel and take them anew, page by page, cost 5 % of a CT's time. To keep them
for ever left a process large that was once asked for much. So what is freed is kept for some seconds.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from threading import Event

# For tritonserver, which has no thread of ours to trim it, and for the front, which passes on bytes: one place to
# allocate from. As glibc has it, with a place for each thread, a server that was asked for much at a time kept 165 MB.
# In the front what is larger than 128 KiB is given back when it is freed; not in tritonserver, whose environment its
# python processes inherit: there that made DALI keep 64 MB of a large picture.
SERVER = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(128 << 10)}
FRONT = SERVER | {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENAS = -1, -3, -8  # glibc's numbers for mallopt
_KEPT = 32 << 20  # bytes, the most that glibc takes for the second
TRIM_SECONDS = 10.0
_settled = Event()


def keep() -> None:
    """From now on this process keeps what it frees, up to some megabytes, until it is trimmed; in two places."""
    with suppress(AttributeError):
        for option, value in ((_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _KEPT), (_ARENAS, 2)):
            ctypes.CDLL(None).mallopt(option, value)


def settle() -> None:
    """Call what there is now this process's own: Python need not look through it any more for what nobody holds."""
    gc.collect()
    gc.freeze()
    _settled.set()


def trim() -> None:
    """Give back what this process has kept, and what nobody holds; not before it is settled."""
    if not _settled.is_set():
        return
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
