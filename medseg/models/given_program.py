"""A torch.export program (.pt2) that a user gives: opened only where nothing in the file can run code.

PyTorch's own reader would run code: it unpickles example inputs, calls any function of torch that a graph names,
evaluates the texts of its shapes, and loads compiled libraries. So the file is checked before PyTorch reads it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import InputError

_REMEDY = "export the network again with torch.export.export and torch.export.save"
_ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|version|\.?data/(serialization_id|version)|\.format_version|"
    r"\.storage_alignment|models/[\w.-]+\.json|data/(weights|constants|sample_inputs)/[\w.-]+|extra/[\w./-]*"
)
_FUNCTIONS = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+|torch\.sym_\w+|math\.(ceil|floor|trunc)|"
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
_NAMES = {
    *("Mod", "FloorDiv", "PythonMod", "CleanDiv", "CeilDiv", "Max", "Min", "TruncToInt", "ToFloat", "IntTrueDiv"),
    *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor", "ceiling", "oo", "int_oo", "Identity"),
    *("PowByNatural", "FloorToInt", "CeilToInt", "RoundToInt", "Where", "ModularIndexing"),
}
_SYMBOL = re.compile(r"[suz][uf]?\d+")
_DECLARED = re.compile(r"Symbol\('([suz][uf]?\d+)'(, \w+=(True|False))*\)")  # the first mention of a size in a graph
_TEXT = re.compile(r"[\w\s+\-*/(),<>=&|~.]*")
_MOST_JSON = 256 << 20  # bytes


def program_module(file: Path) -> nn.Module:
    """The program as a module. It takes batches of any size if its graph does.

    Raises InputError where the file is not a program, could run code, or does not have one input and one output.
    """
    refuse_code(file)
    try:
        program = torch.export.load(io.BytesIO(file.read_bytes()))
    except Exception as error:  # the reader may raise anything on a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"program {file} cannot be read ({reason}): {_REMEDY}") from error
    signature = program.graph_signature
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
        counts = f"{len(signature.user_inputs)} inputs and {len(signature.user_outputs)} outputs"
        raise InputError(f"program {file} has {counts}; expected one of each, pictures and logits: {_REMEDY}")
    return program.module(check_guards=False)


def asked_and_answered(file: Path) -> tuple[list[int | None], list[int | None]]:
    """The shapes of the program's input and output; None where a size is free. Raises as `program_module` does."""
    module = program_module(file)
    graph: Any = module.graph
    asked = next(node for node in graph.nodes if node.op == "placeholder")
    answered = next(node for node in graph.nodes if node.op == "output").args[0]
    last = answered[0] if isinstance(answered, list | tuple) else answered
    return _shape(asked.meta.get("val")), _shape(last.meta.get("val"))


def refuse_code(file: Path) -> None:
    """Raise InputError where the file is not a program, or holds anything but tensors and arithmetic."""
    try:
        with zipfile.ZipFile(file) as archive:
            problem = next(_problems(archive), None)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, RecursionError) as error:
        raise InputError(
            f"program {file} is not an archive of torch.export.save; expected a .pt2: {_REMEDY}"
        ) from error
    if problem:
        raise InputError(f"program {file} {problem}; expected tensors and arithmetic alone: {_REMEDY}")


def _problems(archive: zipfile.ZipFile) -> Iterator[str]:
    names = [name.split("/", 1)[-1] for name in archive.namelist()]
    models = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/models/[\w.-]+\.json", name)]
    for name in names:
        if not _ENTRIES.fullmatch(name):
            yield f"holds {name[:80]!r}, which could run code"
    if len(models) != 1:
        yield f"holds {len(models)} programs"
        return
    if archive.getinfo(models[0]).file_size > _MOST_JSON:
        yield "has a graph too large to be one"
        return
    yield from _graph_problems(json.loads(archive.read(models[0])))
    for name in archive.namelist():
        if name.endswith("_config.json"):
            yield from (f"holds {one}, which could run code" for one in _pickles(json.loads(archive.read(name))))
        elif "/data/sample_inputs/" in name and not _loads(archive.read(name)):
            yield "has example inputs that are more than tensors, which could run code"


def _graph_problems(value: Any) -> Iterator[str]:
    """The names of functions, and the texts to evaluate, in a graph's JSON that are more than arithmetic."""
    if isinstance(value, list):
        for entry in value:
            yield from _graph_problems(entry)
    elif isinstance(value, dict):
        for name, entry in value.items():
            if name == "target" and isinstance(entry, str) and "inputs" in value and not _FUNCTIONS.fullmatch(entry):
                yield f"calls {entry[:80]!r}, which could run code"
            if name == "expr_str" and not _is_arithmetic(entry):
                yield "has a size that is not arithmetic, which could run code"
            yield from _graph_problems(entry)


def _is_arithmetic(text: Any) -> bool:
    """Whether a text has only numbers, names of sizes, and the functions of sizes that PyTorch writes."""
    if not isinstance(text, str) or len(text) > 4096:
        return False
    text = _DECLARED.sub(r"\1", text)
    if not _TEXT.fullmatch(text):
        return False
    words = re.findall(r"[A-Za-z_]\w*", text)
    return all(word in _NAMES or _SYMBOL.fullmatch(word) for word in words) and not re.search(r"[.]\s*[A-Za-z_]", text)


def _pickles(config: Any) -> Iterator[str]:
    """The names of weights that are stored as pickles instead of plain numbers."""
    entries = config.get("config", {}) if isinstance(config, dict) else {}
    yield from (str(name)[:80] for name, one in entries.items() if not isinstance(one, dict) or one.get("use_pickle"))


def _loads(content: bytes) -> bool:
    if not content:
        return True
    try:
        torch.load(io.BytesIO(content), weights_only=True)
        return True
    except Exception:
        return False


def _shape(value: Any) -> list[int | None]:
    """The sizes of a node's tensor, None where they are free."""
    return [side if isinstance(side, int) else None for side in getattr(value, "shape", ())]
