"""Where a repository is served: one definition of a task, three kinds of server that can run it."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.engines import CPU_DEFAULT, ENGINES
from medseg.errors import InputError


@dataclass(frozen=True)
class Target:
    """A kind of server: which engines open its networks, and whether Triton's own backends do so."""

    name: str
    engines: tuple[str, ...]  # the default first
    native: bool  # networks and DALI run in Triton's own backends, from files inside the repository
    device: str  # of DALI and of native networks: cpu or gpu


def _native(device: str) -> tuple[str, ...]:
    """The engines that Triton's own backends are, on this device."""
    return tuple(name for name, kind in ENGINES.items() if kind.backend == device)


def _first(default: str, engines: tuple[str, ...]) -> tuple[str, ...]:
    return default, *(name for name in engines if name != default)


TARGETS = {
    target.name: target
    for target in (
        Target("embedded", _first(CPU_DEFAULT, tuple(ENGINES)), False, "cpu"),
        Target("cpu", _first("onnxruntime", _native("cpu")), True, "cpu"),
        Target("gpu", _native("gpu"), True, "gpu"),
    )
}
EMBEDDED = TARGETS["embedded"]


def target_named(name: str) -> Target:
    """The target of this name. Raises InputError listing them."""
    if name not in TARGETS:
        raise InputError(f"--target is {name!r}; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]


def engine_for(target: Target, engine: str | None) -> str:
    """The engine asked for, or the target's default. Raises InputError for one that the target does not have."""
    if engine and engine not in target.engines:
        raise InputError(f"--engine is {engine!r}; target {target.name!r} has {', '.join(target.engines)}: choose one")
    return engine or target.engines[0]
