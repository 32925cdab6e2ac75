"""docs/licenses.md: the license of every package that medseg's extras install, as the package's metadata states it."""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

RESTRICTED = re.compile(r"non-?commercial|NVIDIA|LicenseRef|proprietary|GPL", re.IGNORECASE)
HEAD = """# Licenses of the packages that medseg installs

medseg itself is under the Apache License 2.0. The table lists the packages that `medseg[cpu,rtx,wandb]` installs, with
the license that each package's metadata states; `make docs` writes it. NVIDIA's packages are proprietary: they are free
of charge under NVIDIA's terms, which restrict redistribution. Three things are not listed: `trt` installs more NVIDIA
packages, `nvml` installs nvidia-ml-py (BSD), and `medseg server install` takes the Triton server (BSD) from the wheel
nvidia-pytriton (Apache 2.0).

| package | license |
| --- | --- |
"""


def brought(name: str, extras: frozenset[str], seen: dict[tuple[str, frozenset[str]], Distribution]) -> None:
    """Add a package, and all packages that it requires here, to `seen`."""
    key = re.sub(r"[-_.]+", "-", name).lower(), extras
    if key in seen:
        return
    try:
        seen[key] = found = distribution(name)
    except PackageNotFoundError:
        return  # required only elsewhere: on another system, or by an extra that is not installed
    for line in found.requires or ():
        one = Requirement(line)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            brought(one.name, frozenset(one.extras), seen)


def license_of(found: Distribution) -> str:
    """The license as the metadata states it: the expression, else the classifiers, else the text's first line."""
    stated = found.metadata
    classified = [line.rsplit(" :: ", 1)[1] for line in stated.get_all("Classifier", []) if "License ::" in line]
    text = (stated.get("License") or "").strip().splitlines()
    return stated.get("License-Expression") or ", ".join(classified) or (text[0][:80] if text else "not stated")


def table() -> str:
    """The whole page."""
    seen: dict[tuple[str, frozenset[str]], Distribution] = {}
    brought("medseg", frozenset({"cpu", "rtx", "wandb"}), seen)
    listed = {name: license_of(found) for (name, _), found in seen.items() if name != "medseg"}
    rows = (f"| {name} | {listed[name].replace('|', '/')} |" for name in sorted(listed))
    marked = [f"{name} ({listed[name]})" for name in sorted(listed) if RESTRICTED.search(listed[name])]
    return HEAD + "\n".join(rows) + "\n\nPackages whose license is not simply permissive: " + "; ".join(marked) + ".\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table())
