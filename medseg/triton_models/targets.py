"""Where a repository is served: one definition of a task, three kinds of server that can run it."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.errors import InputError


@dataclass(frozen=True)
class Target:
    """A kind of server: which engines open its networks, and whether Triton's own backends do so."""

    name: str
    engines: tuple[str, ...]  # the default first
    native: bool  # networks and DALI run in Triton's own backends, from files inside the repository
    device: str  # of DALI and of native networks: cpu or gpu


TARGETS = {
    target.name: target
    for target in (
        Target("embedded", ("openvino", "onnxruntime", "torch", "tensorrt", "tensorrt-rtx"), False, "cpu"),
        Target("cpu", ("onnxruntime", "openvino"), True, "cpu"),
        Target("gpu", ("tensorrt",), True, "gpu"),
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
