"""Stand-ins for cuBLAS and cuDNN of other versions, so that TensorRT 8's libraries load without them.

Every call to a stand-in fails. So TensorRT must be told to use only its own kernels; its engines then need neither.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path

_FAILS = "int {name}(void) {{ return 1; }}"
_SPEAKS = 'const char *cudnnGetErrorString(int code) { return "a stand-in"; }'


def make_stubs(library: Path, to: Path) -> list[Path]:
    """Compile a library for each version of cuBLAS and cuDNN that this library needs."""
    to.mkdir(parents=True, exist_ok=True)
    told = subprocess.run(["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True, check=True)
    return [_compiled(name, symbols, to) for name, symbols in wanted(told.stdout).items()]


def wanted(listing: str) -> dict[str, list[str]]:
    """The symbols that `nm` lists as undefined, by the versioned library that should define them."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in listing.splitlines():
        name, at, version = "".join(line.split()[-1:]).partition("@")
        if at and version.startswith(("libcublas", "libcudnn")):
            found[version].append(name)
    return dict(found)


def _compiled(version: str, symbols: list[str], to: Path) -> Path:
    source, script, library = (to / f"{version}{ending}" for ending in (".c", ".map", ""))
    lines = [_SPEAKS if name == "cudnnGetErrorString" else _FAILS.format(name=name) for name in symbols]
    source.write_text("\n".join(lines))
    script.write_text(f"{version} {{ global: {'; '.join(symbols)}; local: *; }};")
    how = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{version}", f"-Wl,--version-script={script}"]
    subprocess.run(["gcc", *how, "-o", str(library), str(source)], check=True)
    for made in (source, script):
        made.unlink()
    return library
