"""A package that offers tasks, written by hand: modules and a dist-info folder for sys.path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def package(folder: Path, name: str, offers: Mapping[str, str], modules: Mapping[str, str]) -> Path:
    """A folder for sys.path with a package of this name, its entry points `offers`, and its modules' texts."""
    facts = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{task} = {value}" for task, value in offers.items()]
    (facts / "entry_points.txt").write_text("\n".join(["[medseg.tasks]", *lines, ""]))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder
