"""What docs/adding-an-engine.md says, done: one class and one entry, and everything that lists engines has it."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.engines import ENGINES, named

DOCUMENT = (Path(__file__).parents[2] / "docs/adding-an-engine.md").read_text()
(CLASS,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
# The document's class with bodies: it answers with twice its batch, and opens what begins with "mine".
BODIES = (
    "import threading\n"
    + CLASS.replace("Path", "'Path'").replace("Array", "'Array'")
    + """
    facts = staticmethod(lambda: "twice as much")

def opened(self, file, threads, streams):
    if not file.read_bytes().startswith(b"mine"):
        raise ValueError("does not begin with mine")

MyEngine.__init__ = opened
MyEngine.__call__ = lambda self, batch: batch * 2
"""
)
ASKED = """
import json, sys
from pathlib import Path
import medseg.engines as engines
engines.ENGINES["mine"] = engines.Kind("mine_engine:MyEngine", ".mine", "numpy", "mine", facts="mine_engine:facts")
import numpy as np
from medseg.bench import lineup
from medseg.cli.abilities import abilities
from medseg.cli.doctor import _engines
from medseg.cli.info import _engines as known
from medseg.engines import open_engine
from medseg.errors import EngineError
from medseg.triton_models.targets import TARGETS

good, bad, other = Path("good.mine"), Path("bad.mine"), Path("good.onnx")
good.write_bytes(b"mine"), bad.write_bytes(b"yours"), other.write_bytes(b"mine")
told = []
for file in (bad, other):
    try:
        open_engine("mine", file)
    except EngineError as error:
        told.append(str(error))
engine = open_engine("mine", good)
print(json.dumps({
    "answer": engine(np.ones((1, 2), np.float32)).tolist(),
    "told": told,
    "doctor": [line.fact for line in _engines() if line.what == "engine mine"],
    "info": "mine" in known(),
    "served": [name for name, target in TARGETS.items() if "mine" in target.engines],
    "ability": abilities.__globals__["_CPU_ENGINES"],
}))
"""


def test_one_class_and_one_entry_are_an_engine(tmp_path: Path) -> None:
    facts = "\ndef facts():\n    return 'twice as much'\n"
    (tmp_path / "mine_engine.py").write_text(BODIES + facts)
    code = f"import sys; sys.path.insert(0, '.')\n{ASKED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] == [[2, 2]]
    assert "bad.mine" in found["told"][0] and "does not begin with mine" in found["told"][0]
    assert re.search(r"cannot open good\.onnx; expected a \.mine file", found["told"][1])
    assert "twice as much" in found["doctor"][0] and found["info"]
    assert found["served"] == ["embedded"], "a backend of Triton's own it would need for others"
    assert "mine" in found["ability"]


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_the_methods_of_the_document(name: str) -> None:
    """Those whose package is not here are read, not imported."""
    module, _, kind = ENGINES[name].opener.partition(":")
    pytest.importorskip(ENGINES[name].package)
    found = named(ENGINES[name].opener)
    for method, parameters in re.findall(r"def (\w+)\((.*?)\) ->", CLASS):
        own = list(inspect.signature(getattr(found, method)).parameters)
        assert own == [one.split(":")[0].strip() for one in parameters.split(",")], f"{module}:{kind}.{method}"


def test_the_document_names_files_and_words_that_are_there() -> None:
    root = Path(__file__).parents[2]
    for path in re.findall(r"`((?:medseg|tests|docs)/[\w/.-]+)`", DOCUMENT):
        assert (root / path).exists(), path
    for word in ("builds", "backend", "facts"):
        assert f"`{word}`" in DOCUMENT and hasattr(ENGINES["torch"], word)
