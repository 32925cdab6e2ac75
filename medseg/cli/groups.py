"""Options in groups: dataclasses whose fields are command line options, so that a command takes only a few records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every field of its groups as its own parameter; Typer makes an option of each parameter."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    whole = signature(command)
    apart = whole.replace(parameters=[one for given in whole.parameters.values() for one in _apart(given, hints)])

    @wraps(command)
    def flat(*arguments: Any, **options: Any) -> None:
        bound = apart.bind(*arguments, **options)
        bound.apply_defaults()
        given = dict(bound.arguments)
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    flat.__signature__ = apart  # type: ignore[attr-defined]
    flat.__annotations__ = {name: one.annotation for name, one in apart.parameters.items()}
    return flat


def _apart(given: Parameter, hints: dict[str, Any]) -> Iterator[Parameter]:
    """The parameter itself, or the fields of its group."""
    group = hints[given.name]
    if not is_dataclass(group):
        optional = given.default is not Parameter.empty
        yield given.replace(annotation=group, kind=Parameter.KEYWORD_ONLY if optional else given.kind)
        return
    known = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = Parameter.empty if field.default is MISSING else field.default
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=known[field.name])
