"""How a task whose runs describe their networks gets these: fitted here, or brought along. Needs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import InputError


@dataclass(frozen=True)
class NetworkOptions:
    """What a person says of a network that no task has, in the words of the command line; None is left open."""

    arch: str | None = None
    encoder: str | None = None
    classes: str | None = None
    activation: str | None = None
    size: str | None = None
    normalisation: str | None = None
    weights: str | None = None  # which of several sets in a file
    describe: Path | None = None  # a description as it shall be
    configuration: str | None = None  # which of several in a model
    folds: str | None = None  # which of its folds, such as 0,1
    checkpoint: str | None = None  # the file's name in each fold


@dataclass(frozen=True)
class Brought:
    """A network that was brought along: its description, and its weights by name or its program's file."""

    description: str
    state: Mapping[str, object] = field(default_factory=dict)
    program: Path | None = None
    source: Mapping[str, object] = field(default_factory=dict)  # for the run's manifest
    notes: tuple[str, ...] = ()  # what was taken for granted
    kept: object = None  # what has to live until it is a run: the folder of a program


@dataclass(frozen=True)
class Bringing:
    """How a task whose networks are described gets them."""

    begun: Callable[[Path, NetworkOptions], str]  # a data folder -> the description of what will be fitted to it
    imported: Callable[[Path, NetworkOptions], Brought]  # a file or folder of somebody else
    projects: Mapping[str, Callable[[Path, NetworkOptions], Brought]] = field(
        default_factory=dict
    )  # models of these, by name


def refuse_chosen(network: str, chosen: Mapping[str, object]) -> None:
    """Raise InputError for the first of these options that was given: the network has no use for it."""
    for name, value in chosen.items():
        if value is not None:
            raise InputError(f"network {network!r} has no option --{name.replace('_', '-')}: leave it out")
