"""How a cohort is answered (runs, options ...), as in its ledger's first line; later calls must use the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.api.predictor import open_predictor
from medseg.cohort.case import Work
from medseg.engines.runs import as_runs, made_by
from medseg.errors import RunError, ServerError

_WORDS = {"medseg": "version of medseg", "runs": "runs", "engine": "engine", "precision": "precision"}


def how_asked(work: Work, urls: tuple[str, ...] = ()) -> dict[str, Any]:
    """The task, what makes its answers, and every option that changes an answer."""
    about = dict(work.expected) if work.expected is not None else _made_by(work, urls)
    asked = {"options": dict(work.options), "extras": list(work.extras), "reading": asdict(work.reading)}
    return {"task": work.task, **about, **asked, "arrays": work.arrays}


def _made_by(work: Work, urls: tuple[str, ...]) -> dict[str, Any]:
    """What makes the answers: from the runs' manifests, or from the first server that responds."""
    if not urls:
        return made_by(as_runs(map(Path, work.runs)), work.engine, work.precision)
    silent: list[str] = []
    for url in urls:
        try:
            with open_predictor(work.task, (), url) as predictor:
                return {name: value for name, value in predictor.made_by.items() if name != "server"}
        except ServerError as error:
            silent.append(str(error))
    many = f"none of {len(silent)} servers answers; the first says: " if len(silent) > 1 else ""
    raise ServerError(f"{many}{silent[0]}")


def expected(how: Mapping[str, Any]) -> dict[str, Any]:
    """What every worker's predictor must say about itself."""
    return {name: how[name] for name in (*_WORDS, "served") if name in how}


def of_each(how: Mapping[str, Any]) -> dict[str, Any]:
    """What each line of the ledger says about the maker of an answer; a server says this itself."""
    served = how.get("served")
    told = {**(served if isinstance(served, dict) else {}), **how}
    known = {"medseg": "", "engine": "", "precision": "", "runs": [], "options": {}}
    return {name: told.get(name, unknown) for name, unknown in known.items()}


def refuse_other(path: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise RunError if the ledger in `path` was begun with other runs or options."""
    plain = _plain(now)
    for name in sorted({*was, *plain}):
        if was.get(name) != plain.get(name):
            raise RunError(
                f"{path} was begun with other {_named(name)} ({_short(was.get(name))}) than now "
                f"({_short(plain.get(name))}); expected the same: choose another --out, or start again with --restart"
            )


def _named(name: str) -> str:
    return _WORDS.get(name, name)


def _short(value: object) -> str:
    """A value as text in a message; hashes are shortened."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return ", ".join(f"{one.get('network')} {str(one.get('sha256'))[:12]}" for one in value)
    return str(value) if value else "none"


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
