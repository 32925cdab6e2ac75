"""A task's own options of `medseg predict`, made of its records: Task.options, Files.extras and Files.reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from medseg.task import Option, Reading, Task

_OWN, _GIVEN = "medseg.own", "medseg.given"
_READING = {  # what a person may say of files, where the task's leave it open
    "spacing_mm": (
        str,
        "--spacing",
        "Voxel spacing X,Y,Z in mm for volumes whose file states none, such as 0.7,0.7,2.5.",
    ),
    "skip_damaged": (bool, "--skip-damaged", "Leave out damaged files of a series, with a note."),
}


@dataclass(frozen=True)
class Own:
    """What was asked for with a task's own options."""

    options: Mapping[str, float | str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)  # of the fields of Reading

    @property
    def reading(self) -> Reading:
        """How files that do not state everything are read. Raises InputError for an invalid spacing."""
        from medseg.task import Reading

        return Reading(spacing_of(self.given.get("spacing_mm")), bool(self.given.get("skip_damaged")))


class TaskCommand(TyperCommand):
    """A command whose first argument is a task, and which takes that task's own options too."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's parameters, the task's own ones among them."""
        *usual, to_help = super().get_params(ctx)
        return [*usual, *ctx.meta.get(_OWN, ()), to_help]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual; an option that the task does not have is refused with the task's name."""
        from medseg.errors import InputError, TaskError

        task = self._completed(args) if ctx.resilient_parsing else self._task(args)
        ctx.meta[_OWN] = own_parameters(task) if task else ()
        usual = {name for one in self.params for name in one.opts}
        if task and (clash := [one.opts[0] for one in ctx.meta[_OWN] if one.opts[0] in usual]):
            raise TaskError(f"task {task.name!r} has an option {clash[0]}, which every task has; expected another name")
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            name = getattr(error, "option_name", "")
            if not task or not name or type(error).__name__ != "NoSuchOption":
                raise
            has = ", ".join(one.opts[0] for one in ctx.meta[_OWN]) or "none"
            said = f"{name} is not an option of `medseg {ctx.info_name} {task.name}`; its own options are {has}"
            if close := get_close_matches(name, usual, 1):
                raise InputError(f"{said}; did you mean {close[0]}?") from error
            raise InputError(f"{said}: leave it out, or see `medseg {ctx.info_name} {task.name} --help`") from error

    def invoke(self, ctx: Any) -> Any:
        """Call as usual; the task's own options are kept separately, see `own`."""
        ctx.meta[_GIVEN] = {one.name: ctx.params.pop(one.name) for one in ctx.meta[_OWN]}
        return super().invoke(ctx)

    def _completed(self, args: list[str]) -> Task | None:
        """The task that an incomplete command line names; None where no known task is named."""
        from medseg.errors import MedsegError

        try:
            return self._task(args)
        except MedsegError:
            return None

    def _task(self, args: list[str]) -> Task | None:
        """The task that the words name: the first that is a task's name. Raises InputError where none is one."""
        from medseg.tasks import task_named, task_names

        words = [*self._words(args)]
        named = [word for word in words if word in task_names()]
        return task_named((named or words)[0]) if words else None

    def _words(self, args: list[str]) -> Iterator[str]:
        """The words that are neither options that every task has nor their values."""
        valued = {name for one in self.params if not getattr(one, "is_flag", True) for name in one.opts}
        rest = iter(args)
        for word in rest:
            if word in valued:
                next(rest, None)
            elif not word.startswith("-"):
                yield word


def own(task: Task, ctx: typer.Context) -> Own:
    """What the command line asked for with the task's own options; the options' defaults where it did not."""
    given = ctx.meta[_GIVEN]
    return Own(
        {option.name: _chosen(option, given[option.name]) for option in task.options},
        tuple(name for name in task.files.extras if given[name]),
        {name: given[name] for name in task.files.reading},
    )


def _chosen(option: Option, value: Any) -> float | str:
    """The value of an option; for a switch, the choice that it stands for."""
    if not option.switch:
        return value
    return option.choices[0 if value is None else 1 + bool(value)]


def own_parameters(task: Task) -> tuple[Any, ...]:
    """The task's own options as Typer makes them of a function's parameters."""
    fields = [
        *(_of(option, task) for option in task.options),
        *(_switch(name, _sentence(f"also write {holds}")) for name, holds in task.files.extras.items()),
        *(_reading(name) for name in task.files.reading),
    ]

    def command(**_: Any) -> None:
        """Only its signature is used."""

    command.__signature__ = Signature(fields)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in fields}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return tuple(typer.main.get_command(app).params)


def _of(option: Option, task: Task) -> Parameter:
    """A word among its choices, or a number within its wire's bounds."""
    if option.switch:
        both = typer.Option(f"{_flag(option.name)}/--no-{option.name}", help=_sentence(option.help))
        return Parameter(option.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[bool | None, both])
    least, most = bounds(option, task)
    kind: Any = Literal[option.choices] if option.choices else float
    made = typer.Option(_flag(option.name), help=_sentence(option.help), min=least, max=most)
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, made])


def bounds(option: Option, task: Task) -> tuple[float | None, float | None]:
    """The smallest and largest number that an option takes, from its wire; None for a word or without a bound."""
    values = None if option.choices else task.pipeline.tensor(option.name).values
    return values or (None, None)


def _switch(name: str, words: str) -> Parameter:
    made = typer.Option(_flag(name), help=words)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, made])


def _reading(name: str) -> Parameter:
    kind, flag, words = _READING[name]
    made = typer.Option(flag, help=words)
    default = False if kind is bool else None
    annotation = Annotated[kind, made] if kind is bool else Annotated[kind | None, made]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def spacing_of(text: str | None) -> tuple[float, float, float] | None:
    """The spacing x, y, z in mm of `--spacing`. Raises InputError unless it is three positive numbers."""
    from medseg.errors import InputError

    if text is None:
        return None
    try:
        x, y, z = (float(number) for number in text.split(","))
    except ValueError:
        x = y = z = 0.0
    if not all(0.01 <= number <= 100 for number in (x, y, z)):
        raise InputError(f"--spacing is {text!r}; expected X,Y,Z in mm, each 0.01 to 100, such as 0.7,0.7,2.5")
    return x, y, z
