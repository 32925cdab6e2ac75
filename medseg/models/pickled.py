"""The content of a checkpoint: what torch.save or safetensors wrote, read without running code from the file."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from medseg.errors import InputError
from medseg.models.disguise import disguise, is_safetensors

# Whose values lie beside weights: settings, paths, dates, what a trainer keeps. None of them is made: a Left stands for
# each. Everything else is refused by its name.
_SETTINGS = (
    "argparse.",
    "collections.",
    "datetime.",
    "lightning.",
    "lightning_fabric.",
    "omegaconf.",
    "pathlib.",
    "pytorch_lightning.",
    "types.SimpleNamespace",
    "uuid.UUID",
)
_PLAIN = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    **{f"builtins.{kind.__name__}": kind for kind in (list, dict, int, float, str, bool, set, bytearray, complex)},
}
_ARRAYS = {
    "numpy.dtype": np.dtype,
    "numpy.ndarray": np.ndarray,
    "numpy._core.multiarray.scalar": multiarray.scalar,
    "numpy._core.multiarray._reconstruct": multiarray._reconstruct,
}
_LEGACY_PICKLES = 4  # a magic number, a version, the machine, the content
_SHOWN = 3


class Left:
    """A placeholder for a value that is not needed: it accepts any arguments."""

    def __init__(self, *_: Any) -> None:
        pass

    def __new__(cls, *_: Any) -> Left:
        """One, whatever it is made of."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Take a state and leave it."""


class LeftDict:
    """The same for dictionaries of a kind of their own: torch fills plain ones alone."""

    def __new__(cls, *_: Any) -> dict[Any, Any]:  # type: ignore[misc]
        """An empty, plain dictionary."""
        return {}


def content_of(file: Path) -> Any:
    """What a file of weights holds, tensors on the CPU.

    Raises InputError naming what the file is instead, or what in it could run code, and what to do.
    """
    if not file.exists():
        raise InputError(f"checkpoint {file} does not exist; expected a PyTorch or safetensors file: check the path")
    if is_disguised := disguise(file):
        raise InputError(f"checkpoint {file} {is_disguised}")
    try:
        if is_safetensors(file):
            from safetensors.torch import load_file

            return load_file(file)
        with _harmless(file):
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch and safetensors raise what they happen to trip over in a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        reason = "it is not a pickle of plain values" if isinstance(error, pickle.UnpicklingError) else reason
        raise InputError(
            f"checkpoint {file} cannot be read ({reason}); expected a whole PyTorch or safetensors file: fetch it again"
        ) from error


@contextmanager
def _harmless(file: Path) -> Iterator[None]:
    """NumPy's arrays and numbers allowed, settings left unmade. Raises InputError naming what else is in the file."""
    names = sorted(_globals(file))
    if any(name.startswith(("torch.nn.modules.", "torch.nn.parallel.")) for name in names):
        raise InputError(
            f"checkpoint {file} is a whole pickled network, which could run code; expected its weights alone: "
            "save network.state_dict() with torch.save if you trust it"
        )
    allowed = {name: _stand_in(name) for name in names if not name.startswith(("torch.", "_codecs."))}
    refused = [name for name, one in allowed.items() if one is None]
    if refused:
        raise InputError(
            f"checkpoint {file} holds more than tensors and plain values ({', '.join(refused[:_SHOWN])}), which could "
            "run code; expected weights alone: save the network's state_dict() again if you trust the file"
        )
    known: list[Any] = [(one, name) for name, one in allowed.items()]
    with torch.serialization.safe_globals([*known, *_numbers()]):
        yield


def _stand_in(name: str) -> Any:
    """What is made where a pickle asks for a name: NumPy's own, or a Left; None for what must not be made."""
    if name.startswith("numpy."):
        return _ARRAYS.get(name.replace("numpy.core.", "numpy._core."))
    if known := _PLAIN.get(name):
        return known
    if name.endswith((".defaultdict", ".AttributeDict")):
        return LeftDict
    return Left if name.startswith(_SETTINGS) else None


def _numbers() -> list[Any]:
    """NumPy's types of numbers and texts; not that of objects, which would be pickles again."""
    return sorted({type(np.dtype(code)) for code in "?bhilqBHILQefdgFDSUMm"}, key=lambda kind: kind.__name__)


def _globals(file: Path) -> Iterator[str]:
    """The names that a checkpoint's pickles ask for."""
    with ExitStack() as stack:
        if zipfile.is_zipfile(file):
            archive = stack.enter_context(zipfile.ZipFile(file))
            name = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
            streams = [stack.enter_context(archive.open(name))]
        else:
            streams = [stack.enter_context(file.open("rb"))] * _LEGACY_PICKLES
        for stream in streams:
            for operation, value, _ in pickletools.genops(stream):
                if operation.name in ("GLOBAL", "INST"):
                    yield re.sub("^__builtin__[.]", "builtins.", str(value).replace(" ", "."))  # as Python 2 names it
