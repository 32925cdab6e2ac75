"""What a child process does to itself before it becomes tritonserver or the front."""

from __future__ import annotations

import ctypes
import os
import platform
import signal

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_FILTER_MODE = 2
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the kernel's filters
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000  # the second: return 0 to the caller and do nothing
_FCHMOD = {"x86_64": 91, "aarch64": 52}
_libc = ctypes.CDLL(None)


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def private(told: int = signal.SIGTERM) -> None:
    """Get this signal when the parent ends, however it ends; make files that nobody else may read.

    The kernel may send the signal several times, at the end of each of the parent's threads.

    Triton gives its memory for tensors the mode 0644 by fchmod, whatever the umask, so that anybody may read what
    patients' pictures lie there. A system call filter makes fchmod do nothing in this process and its children; where
    the kernel does not offer that, the mode stays.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, told)
    os.umask(0o077)
    if _program:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(_program), 0, 0)


def _without(call: int) -> _Program:
    """A filter that makes one system call do nothing and report success."""
    steps = (
        _Instruction(_LOAD, 0, 0, 0),  # the call's number
        _Instruction(_JUMP_EQUAL, 0, 1, call),
        _Instruction(_RETURN, 0, 0, _SUCCEED),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    return _Program(len(steps), (_Instruction * len(steps))(*steps))


_program = _without(_FCHMOD[platform.machine()]) if platform.machine() in _FCHMOD else None
