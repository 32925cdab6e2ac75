"""A MONAI bundle's files and its inference configuration: references are followed, expressions are not run."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.archive import unpacked
from medseg.errors import InputError
from medseg.schema import read_json

_LAYOUT = "a bundle's folder or zip with configs/metadata.json, configs/inference.json and models/model.pt"
_INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
_DEEPEST = 20  # references that lead to references


@dataclass(frozen=True)
class Bundle:
    """A bundle's documents and its file of weights."""

    folder: Path
    metadata: Mapping[str, Any]
    config: Mapping[str, Any]
    weights: Path
    kept: tempfile.TemporaryDirectory[str] | None = None  # that a zip was unpacked into

    def value(self, value: Any, depth: int = 0) -> Any:
        """A value with the references in it followed. Raises InputError for an expression, which is not run."""
        if isinstance(value, list):
            return [self.value(one, depth) for one in value]
        if isinstance(value, dict):
            return {name: self.value(one, depth) for name, one in value.items()}
        if isinstance(value, str) and value.startswith("@"):
            if depth > _DEEPEST:
                raise InputError(f"inference configuration: {value[:80]!r} refers to itself; expected a value")
            return self.value(self.at(value[1:]), depth + 1)
        if isinstance(value, str) and value.startswith("$"):
            raise InputError(
                f"inference configuration: {value[:80]!r} is an expression, and medseg runs no code of a bundle; "
                "expected the value itself: write it there"
            )
        return value

    def at(self, path: str) -> Any:
        """The entry at a path such as preprocessing::transforms::0. Raises InputError where there is none."""
        place: Any = self.config
        for name in path.replace("#", "::").split("::"):
            known = isinstance(place, list) and name.isdigit() and int(name) < len(place)
            if not known and not (isinstance(place, dict) and name in place):
                raise InputError(f"inference configuration has no entry {path[:80]!r}; expected it in the file")
            place = place[int(name)] if known else place[name]
        return place


def found(path: Path) -> Bundle:
    """The bundle in a path. Raises InputError where it is none."""
    if not path.exists():
        raise InputError(f"{path} does not exist; expected {_LAYOUT}")
    kept, where = None, path
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path} is a file but not a zip; expected {_LAYOUT}")
        kept = unpacked(path)
        where = Path(kept.name)
    folders = [one.parent.parent for one in sorted(where.rglob("configs/metadata.json"))]
    if len(folders) != 1:
        raise InputError(f"{path} holds {len(folders)} bundles of MONAI; expected one: {_LAYOUT}")
    configs, models = folders[0] / "configs", folders[0] / "models"
    inference = next((configs / name for name in _INFERENCE if (configs / name).is_file()), None)
    if inference is None:
        raise InputError(f"{configs} has none of {', '.join(_INFERENCE)}; expected a bundle for inference")
    weights = models / "model.pt"
    if not weights.is_file():
        others = ", ".join(sorted(one.name for one in models.glob("*"))) or "nothing"
        raise InputError(f"{weights} does not exist, its folder holds {others}; expected the weights as a state_dict")
    return Bundle(folders[0], _document(configs / "metadata.json"), _document(inference), weights, kept)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = read_json(path) if path.suffix == ".json" else _yaml(path)
    except (ValueError, OSError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise InputError(f"{path} cannot be read ({reason}); expected MONAI's: copy it again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no entries; expected MONAI's: copy it again")
    return document


def _yaml(path: Path) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise InputError(f"{path} is YAML, which needs pyyaml: pip install pyyaml, or save it as JSON") from error
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(type(error).__name__) from error
