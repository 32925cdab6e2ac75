"""Run: the folder that commands hand to each other. Training or importing makes it, later commands add files to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medseg.errors import RunError
from medseg.files import sha256, whole_file

FORMAT = 1
WEIGHTS = "weights.pt"
PROGRAM = "fp32.pt2"  # the last file that a fit writes
MANIFEST = "manifest.json"


class Run:
    """A run folder with its manifest.json: which network, where its weights come from, every file with its sha256."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = _read_manifest(self.path / MANIFEST)

    @classmethod
    def create(cls, path: Path | str, network: str, options: Mapping[str, Any], source: Mapping[str, Any]) -> Run:
        """A new, empty run for a network. Raises RunError where the folder already holds one."""
        folder = Path(path)
        if (folder / MANIFEST).exists():
            raise RunError(f"run folder {folder} already holds a run; expected a new folder: choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {"format": FORMAT, "network": network, "options": dict(options), "source": dict(source), "files": {}}
        with whole_file(folder / MANIFEST) as listing:
            _write_manifest(listing, manifest)
        return cls(folder)

    @property
    def network(self) -> str:
        """The name of the network this run holds."""
        return str(self.manifest["network"])

    @property
    def options(self) -> dict[str, Any]:
        """What the network was built with (architecture, features, ...)."""
        return dict(self.manifest["options"])

    @property
    def size(self) -> int | None:
        """Height and width of the pictures it was fitted on, None where they are the network's own."""
        size = self.manifest["source"].get("size")
        return None if size is None else int(size)

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Every recorded file by name, with its facts: sha256, bytes, and what its maker said of it."""
        return dict(self.manifest["files"])

    @contextmanager
    def adding(self, name: str, facts: dict[str, Any]) -> Iterator[Path]:
        """A temporary path to write the file `name` to; renamed and recorded with `facts` if nothing is raised.

        The new manifest is on the disk before either takes its name, so a full disk changes neither.
        """
        with whole_file(self.path / MANIFEST) as listing, whole_file(self.path / name) as path:
            yield path
            facts = facts | {"sha256": sha256(path), "bytes": path.stat().st_size}
            manifest = self.manifest | {"files": self.files | {name: facts}}
            _write_manifest(listing, manifest)
        self.manifest = manifest

    def record(self, **entries: Any) -> None:
        """Write top-level entries of the manifest."""
        manifest = self.manifest | entries
        with whole_file(self.path / MANIFEST) as listing:
            _write_manifest(listing, manifest)
        self.manifest = manifest

    def file(self, **wanted: Any) -> Path:
        """The recorded file whose facts match. Raises RunError naming what the run holds instead."""
        for name, facts in self.files.items():
            if all(facts.get(key) == value for key, value in wanted.items()):
                return self.path / name
        words = ", ".join(f"{key} {value}" for key, value in wanted.items())
        held = ", ".join(self.files) or "no files"
        raise RunError(
            f"run {self.path} has no file with {words}; it holds {held}: run `medseg export {self.path}` first"
        )

    def problems(self) -> list[str]:
        """What differs from the manifest: missing files and changed bytes. Empty when all is well."""
        found = []
        for name, facts in self.files.items():
            path = self.path / name
            if not path.is_file():
                found.append(f"{path}: missing; the manifest lists it: export again")
            elif sha256(path) != facts["sha256"]:
                found.append(f"{path}: its bytes changed since it was recorded (sha256 differs): export again")
        return found


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(
            f"{path.parent} is not a run: it has no manifest.json; make one with `medseg import` or `medseg train`"
        )
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(
            f"{path} is not valid JSON ({error}); expected a run's manifest: restore it or import again"
        ) from error
    if manifest.get("format") != FORMAT:
        found = manifest.get("format")
        raise RunError(f"{path} has format {found}; this medseg reads format {FORMAT}: export again with this version")
    return dict(manifest)


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    path.write_text(json.dumps(manifest, indent=2) + "\n")
