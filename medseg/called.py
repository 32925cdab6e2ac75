"""Packages that can be called: `medseg.export(...)` is what `medseg export` does, and `medseg.export.plan` a module."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from medseg.extras import needed


class Command(ModuleType):
    """A package of a command's name, which is called as the command is.

    Python sets a package's attribute to a subpackage once that is imported, so a function of that name cannot stand
    beside it.
    """

    __command__: str  # module:function; a module of the package may be called command

    @property
    def function(self) -> Any:
        """The command's function."""
        module, _, name = self.__command__.partition(":")
        return getattr(import_module(module), name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the command's function returns."""
        with needed():
            return self.function(*arguments, **options)


def called_as(package: str, command: str) -> None:
    """Let the package of this name be called as the function `module:function`."""
    module = sys.modules[package]
    module.__class__ = Command
    module.__command__ = command  # type: ignore[attr-defined]
