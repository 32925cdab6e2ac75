"""The sources of `medseg predict`, listed before anything is computed: each has its own name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import InputError, bare
from medseg.task import Reading, Source, Task


@dataclass(frozen=True)
class Destination:
    """Where answers are written: into one folder, or into a folder for each answer if it has many files."""

    folder: Path
    overwrite: bool = False  # whether an earlier answer may be replaced
    apart: bool = False

    def of(self, name: str) -> Path:
        """The folder of the answer of this name."""
        return self.folder / name if self.apart else self.folder


def found(task: Task, inputs: Sequence[Path], reading: Reading) -> list[Source | InputError]:
    """All sources in files and folders, under different names; in place of a bad input, the reason.

    Raises InputError where two sources are the same, because one answer would then replace the other.
    """
    listed: list[Source | InputError] = []
    for path in inputs:
        try:
            listed += task.files.sources(path, reading)
        except InputError as error:
            listed.append(bare(error))
    names = iter(distinct([one for one in listed if isinstance(one, Source)]))
    return [replace(one, name=next(names)) if isinstance(one, Source) else one for one in listed]


def distinct(sources: Sequence[Source]) -> list[str]:
    """A name for each source: its own, or, if several share it, with as much of the path as makes them different.

    Raises InputError where nothing does.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number, source in enumerate(sources):
        groups[_key(source.name)].append(number)
    names = [source.name for source in sources]
    for group in groups.values():
        for number, name in zip(group, _told_apart([sources[number] for number in group]), strict=True):
            names[number] = name
    _check_different(sources, names)
    return names


def _told_apart(sources: Sequence[Source]) -> list[str]:
    """Names of sources that share one: the suffix, the folder, or both, then the folder's folder, and so on."""
    names = [source.name for source in sources]
    depth = max(len(source.path.absolute().parts) for source in sources)
    longer = ([_longer(source, extent, suffix) for source in sources] for extent in range(depth) for suffix in (0, 1))
    return next((tried for tried in longer if len(set(map(_key, tried))) == len(tried)), names)


def _longer(source: Source, extent: int, suffix: int) -> str:
    """A source's name with this many of its folders before it, and its file's suffix after it."""
    whole = source.path.absolute()
    parents = whole.parent.parts[1:][-extent:] if extent else ()
    ending = whole.with_name(whole.name.removesuffix(".gz")).suffix[1:]
    return "_".join([*parents, source.name, *([ending] if suffix and ending else [])])


def _check_different(sources: Sequence[Source], names: Sequence[str]) -> None:
    first: dict[str, Source] = {}
    for source, name in zip(sources, names, strict=True):
        other = first.setdefault(_key(name), source)
        if other is not source:
            pair = f"{source.path} is given twice" if source.path == other.path else f"{other.path} and {source.path}"
            raise InputError(f"{pair}: both answers would be named {name!r}; expected different names: rename one")


def _key(name: str) -> str:
    """The key that must differ between two names, also on a disk that ignores upper and lower case."""
    return name.casefold()


def check_new(task: Task, listed: Sequence[Source | InputError], where: Destination) -> None:
    """Raise InputError where an earlier answer would be overwritten, unless it may be."""
    if where.overwrite:
        return
    sources = [one for one in listed if isinstance(one, Source)]
    there = [path for one in sources for path in task.files.answered(one.name, where.of(one.name))]
    if there:
        more = f" and {len(there) - 1} other files" if len(there) > 1 else ""
        raise InputError(
            f"{there[0]}{more} of an earlier answer would be overwritten; expected a new --out: choose one, or add "
            "--overwrite"
        )
