"""A network's process on a server: what its config.pbtxt tells it of the network, and the file that it opens.

It is told the shapes, so that it need not import the tasks to know them: that took longer than everything else before
the first answer. It is told the file's sha256, because a model may be loaded again long after the server was started.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medseg.engines import open_engine
from medseg.errors import RunError
from medseg.files import sha256
from medseg.task import Infer, Network, Recipe, sound

_NO_RECIPE = Recipe(0, 0, 0.0)


def facts(network: Network) -> dict[str, str]:
    """What a process must know of a network, as parameters."""
    return {
        "network": network.name,
        "input_shape": _joined(network.input_shape),
        "output_shape": _joined(network.output_shape),
        "free_axes": _joined(network.free_axes),
    }


def network_told(parameters: Mapping[str, str]) -> Network:
    """The network that parameters tell of: what it takes and answers, not how it is made."""
    takes, answers = _numbers(parameters["input_shape"]), _numbers(parameters["output_shape"])
    free = dict.fromkeys(_numbers(parameters["free_axes"]), 1)
    return Network(parameters["network"], takes, answers, (), _NO_RECIPE, _unknown, free_axes=free)


def opened(parameters: Mapping[str, str]) -> Infer:
    """The network, open in its engine, after a first inference, which is slow.

    Raises RunError where the file is another than the one that was to be served.
    """
    network, file = network_told(parameters), Path(parameters["file"])
    with _unchanged(file, parameters.get("sha256", "")):
        engine = open_engine(parameters["engine"], file, int(parameters["threads"]))
    engine(np.zeros((1, *network.input_shape), np.float32))
    return sound(network, engine)


@contextmanager
def _unchanged(file: Path, expected: str) -> Iterator[None]:
    """Open the file within: it is the one of this sha256, before and after. Without a sha256 it is taken as it is."""
    before = _identity(file)
    if expected and (sha256(file) != expected or _identity(file) != before):
        raise _changed(file)
    yield
    if expected and _identity(file) != before:
        raise _changed(file)


def _identity(file: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    try:
        found = file.stat()
    except OSError as error:
        raise RunError(f"{file} cannot be read ({error.strerror}); expected the network's exported file") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _changed(file: Path) -> RunError:
    return RunError(
        f"{file}: its bytes changed since the server was started (sha256 differs); expected the file that it was "
        "started with: put it back, or start `medseg serve` again"
    )


def _unknown(**_: Any) -> Any:
    raise NotImplementedError("a server's process does not build networks")


def _joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)
