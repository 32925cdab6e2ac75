"""Run: the folder that commands hand to each other. Training or importing makes it, later commands add files to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from medseg.description import DESCRIPTION
from medseg.errors import RunError
from medseg.files import sha256, whole_file, whole_files, whole_folder
from medseg.lock import locked
from medseg.manifest import FORMAT, MANIFEST, read_manifest, write_manifest

WEIGHTS = "weights.pt"
LAST = "last.pt"  # the weights of a fit's last epoch
PROGRAM = "fp32.pt2"  # the last file that a fit writes
# The whole network as it was brought along, in place of weights.
GIVEN_PROGRAM, GIVEN_GRAPH = "given.pt2", "given.onnx"


class Run:
    """A run folder with its manifest.json: which network, where its weights come from, every file with its sha256.

    >>> import medseg
    >>> medseg.Run("runs/luna-segment").network
    'luna-segment'
    """

    verify = True  # whether a file is held against its recorded sha256 before it is opened

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)

    @classmethod
    def create(cls, path: Path | str, network: str, options: Mapping[str, Any], source: Mapping[str, Any]) -> Run:
        """A new, empty run for a network. Raises RunError where the folder already holds one."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            refuse_run(folder)
            with whole_file(folder / MANIFEST) as listing:
                write_manifest(listing, _manifest(network, options, source))
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

        What other processes recorded meanwhile stays recorded. The new manifest is on the disk before either takes its
        name, so a full disk changes neither.
        """
        with (
            ExitStack() as until_both_are_named,
            whole_files(self.path / name, self.path / MANIFEST) as (path, listing),
        ):
            yield path
            facts = facts | {"sha256": sha256(path), "bytes": path.stat().st_size}
            until_both_are_named.enter_context(locked(self.path))
            latest = read_manifest(self.path)
            manifest = latest | {"files": latest["files"] | {name: facts}}
            write_manifest(listing, manifest)
        self.manifest = manifest

    def record(self, **entries: Any) -> None:
        """Write top-level entries of the manifest."""
        with locked(self.path), whole_file(self.path / MANIFEST) as listing:
            manifest = read_manifest(self.path) | entries
            write_manifest(listing, manifest)
        self.manifest = manifest

    def file(self, **wanted: Any) -> Path:
        """The recorded file whose facts match, see `held`. Raises RunError naming what the run holds instead."""
        for name, facts in self.files.items():
            if all(facts.get(key) == value for key, value in wanted.items()):
                return self.held(name)
        words = ", ".join(f"{key} {value}" for key, value in wanted.items())
        holds = ", ".join(self.files) or "no files"
        raise RunError(
            f"run {self.path} has no file with {words}; it holds {holds}: run `medseg export {self.path}` first"
        )

    def held(self, name: str) -> Path:
        """The path of a recorded file. Raises RunError where it is not as it was recorded, unless told not to verify.

        A file that is not recorded is taken as it is.
        """
        problem = self._problem(name, _digest) if self.verify and name in self.files else None
        if problem:
            raise RunError(f"{problem}, or --no-verify to use it as it is")
        return self.path / name

    def problems(self) -> list[str]:
        """What differs from the manifest: missing files and changed bytes. Empty when all is well."""
        found = [self._problem(name, sha256) for name in self.files]
        if WEIGHTS not in self.files and self.manifest["source"].get("kind") in ("import", "train"):
            found.append(
                f"{self.path}: it has no {WEIGHTS}; its fit is not finished: continue with `medseg train --resume`"
            )
        return [problem for problem in found if problem]

    def _problem(self, name: str, digest: Callable[[Path], str]) -> str | None:
        path = self.path / name
        if not path.is_file():
            return f"{path}: missing; the manifest lists it: export again"
        if path.resolve().parent != self.path.resolve():
            return f"{path}: a link out of the run; expected a file in it: copy the file there"
        if digest(path) != self.files[name]["sha256"]:
            return f"{path}: its bytes changed since it was recorded (sha256 differs): export again"
        return None


def refuse_run(folder: Path) -> None:
    """Raise RunError where the folder already holds a run."""
    if (folder / MANIFEST).exists():
        raise RunError(f"run folder {folder} already holds a run; expected a new folder: choose another --out")


def describe(run: Run, text: str) -> None:
    """Write into a run the description that it brings along."""
    with run.adding(DESCRIPTION, {}) as path:
        path.write_text(text)


@contextmanager
def whole_run(path: Path) -> Iterator[Path]:
    """A temporary folder to make a run in; at the end the run is at `path`, or nothing is.

    Raises RunError where there is another run.
    """
    refuse_run(path)
    with ExitStack() as until_it_is_there, whole_folder(path, last=MANIFEST) as folder:
        yield folder
        until_it_is_there.enter_context(locked(path))
        refuse_run(path)


def _manifest(network: str, options: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "network": network, "options": dict(options), "source": dict(source), "files": {}}


def _digest(path: Path) -> str:
    """The file's SHA-256, computed once as long as the file stays as it is."""
    facts = path.stat()
    return _known(path, (facts.st_ino, facts.st_size, facts.st_mtime_ns))


@lru_cache
def _known(path: Path, _: tuple[int, ...]) -> str:
    return sha256(path)
