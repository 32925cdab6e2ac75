"""The content of a checkpoint of torch.save or safetensors, read without running code from the file."""

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

# Modules and types whose values often lie beside weights: settings, paths, dates, a trainer's records. They are never
# created; a Left replaces each of them. Every other name is refused.
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
_LEGACY_PICKLES = 4  # of files before zips: a magic number, a version, the machine, the content
_SHOWN = 3


class Left:
    """A placeholder for a value that is not needed; it accepts any arguments."""

    def __init__(self, *_: Any) -> None:
        pass

    def __new__(cls, *_: Any) -> Left:
        """A placeholder; all arguments are ignored."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Accept any state and ignore it."""


class LeftDict:
    """The same for special types of dictionary. They become plain ones, because torch fills only plain dictionaries."""

    def __new__(cls, *_: Any) -> dict[Any, Any]:  # type: ignore[misc]
        """An empty, plain dictionary."""
        return {}


def content_of(file: Path) -> Any:
    """The content of a file of weights, with tensors on the CPU.

    Raises InputError with what the file is instead, or what in it could run code, and with what to do.
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
    except Exception as error:  # torch and safetensors may raise anything on a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        reason = "it is not a pickle of plain values" if isinstance(error, pickle.UnpicklingError) else reason
        raise InputError(
            f"checkpoint {file} cannot be read ({reason}); expected a whole PyTorch or safetensors file: fetch it again"
        ) from error


@contextmanager
def _harmless(file: Path) -> Iterator[None]:
    """Allow torch to load NumPy's arrays and numbers, with placeholders for settings.

    Raises InputError with the names of everything else in the file.
    """
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
    """The object for a name in a pickle: a plain type, NumPy's own, or a Left; None for a name that is refused."""
    if name.startswith("numpy."):
        return _ARRAYS.get(name.replace("numpy.core.", "numpy._core."))
    if known := _PLAIN.get(name):
        return known
    if name.endswith((".defaultdict", ".AttributeDict")):
        return LeftDict
    return Left if name.startswith(_SETTINGS) else None


def _numbers() -> list[Any]:
    """NumPy's dtypes of numbers and texts, but not of objects, because these hold pickles."""
    return sorted({type(np.dtype(code)) for code in "?bhilqBHILQefdgFDSUMm"}, key=lambda kind: kind.__name__)


def _globals(file: Path) -> Iterator[str]:
    """The names of types and functions that a checkpoint's pickles use."""
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
