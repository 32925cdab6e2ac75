"""Tensors change hands through DLPack: who frees them, and who knows the stream, against a stand-in for Triton's stub.

It takes a capsule or what makes one, as the real stub does (pb_tensor.cc), and frees the tensor when it is told to.
"""

import ctypes
import importlib
import sys
import weakref
from types import ModuleType

import numpy as np
import pytest
import torch

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
_OURS = b"used_dlpack"  # which is not what the protocol says
_DELETER = 56  # bytes from the start of a DLManagedTensor


class Tensor:
    """What the stub makes of an object: a capsule, taken, with the object it came from."""

    def __init__(self, name, given):
        self.asked = hasattr(given, "__dlpack_device__")  # so the stub may say on which stream it will read
        self.capsule = given.__dlpack__(stream=None) if self.asked else given
        self.name, self.address = name, _pointer(self.capsule, b"dltensor")
        _rename(self.capsule, _OURS)

    from_dlpack = classmethod(lambda cls, name, given: cls(name, given))

    def free(self):
        deleter = ctypes.c_void_p.from_address(self.address + _DELETER).value
        ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(deleter)(self.address)


class OnGpu:
    """A tensor that Triton left on a GPU: numpy may not have a view of it."""

    def __init__(self, on_cpu):
        self.tensor, self.is_cpu = torch.arange(6.0), lambda: on_cpu

    def __dlpack__(self, **how):
        return self.tensor.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


@pytest.fixture
def node(monkeypatch):
    stub = ModuleType("triton_python_backend_utils")
    stub.Tensor = Tensor
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stub)
    monkeypatch.delitem(sys.modules, "medseg.triton_models.node", raising=False)
    yield importlib.import_module("medseg.triton_models.node")
    sys.modules.pop("medseg.triton_models.node", None)


def test_numpys_capsule_is_the_stubs_and_freed_by_it(node):
    array = np.arange(6.0)
    held = weakref.ref(array)
    tensor = node._tensor("answer", array)
    assert not tensor.asked and _name(tensor.capsule) == b"used_dltensor"
    del array
    assert held() is not None, "the stub reads it still"
    tensor.free()
    assert held() is None
    del tensor  # and the capsule frees nothing a second time


def test_torchs_tensor_is_handed_over_itself_so_that_the_stub_can_name_its_stream(node):
    for array in (torch.zeros(2, 1, 3), torch.zeros(0, 3), torch.zeros(4, 6).T):
        tensor = node._tensor("answer", array)
        assert tensor.asked
        tensor.free()


@pytest.mark.parametrize("on_cpu", [True, False])
def test_what_came_on_a_gpu_all_the_same_is_copied_for_numpy(node, on_cpu):
    given = OnGpu(on_cpu)
    found = node._array_of({})(given)
    assert isinstance(found, np.ndarray) and found.tolist() == [0, 1, 2, 3, 4, 5]
