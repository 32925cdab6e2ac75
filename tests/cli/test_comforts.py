"""What makes the command line pleasant: the same options everywhere, completion, colours where they belong."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from medseg.cli import words
from medseg.cli.main import app
from medseg.manifest import MANIFEST
from medseg.run import Run
from tests.patience import PATIENCE_S

ROOT = typer.main.get_command(app)


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inside = getattr(command, "commands", {})
    for name, one in inside.items():
        yield from commands(f"{path} {name}", one)
    if not inside:
        yield path, command


COMMANDS = dict(commands("medseg", ROOT))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_same_words(name: str) -> None:
    options = {flag for one in COMMANDS[name].params for flag in one.opts}
    metavars = {one.metavar for one in COMMANDS[name].params}
    assert "--json" in options
    assert not metavars & {"FOLDER", "DIRECTORY", "data", "directory"}
    assert all(one.metavar == "DATA" for one in COMMANDS[name].params if one.name in ("data", "calibration"))


def test_h_is_help_everywhere() -> None:
    for name in COMMANDS:
        done = CliRunner().invoke(app, [*name.split()[1:], "-h"])
        assert done.exit_code == 0 and f"Usage: medseg {name.removeprefix('medseg ')}" in done.stdout.replace(
            "root", "medseg"
        )


def completed(line: str, folder: Path) -> list[str]:
    told = {"_MEDSEG_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = "import sys; sys.argv = ['medseg']; from medseg.cli.main import app; app(prog_name='medseg')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=folder,
    )
    return done.stdout.split()


def test_words_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "runs" / "one", "luna-segment", {}, {})
    for name, precision in (("fp32.onnx", "fp32"), ("int8.onnx", "int8")):
        with run.adding(name, {"precision": precision}) as path:
            path.touch()
    assert (run.path / MANIFEST).is_file()
    monkeypatch.chdir(tmp_path)
    assert words.tasks("lu") == ["luna"] and words.networks("luna-s") == ["luna-segment"]
    assert words.networks("nn") == ["nnunet"] and words.engines("open") == ["openvino"]
    assert words.runs("r") == ["runs/"] and words.runs("runs/") == ["runs/one"] and words.runs("no/such/") == []
    assert completed("medseg predict luna --run runs/one --precision ", tmp_path) == ["fp32", "int8"]
    assert completed("medseg evaluate no", tmp_path) == []


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals(more: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "medseg", "info", "nonsense"]
    done = subprocess.run(command, env=kept | more, stderr=theirs, timeout=PATIENCE_S, check=False)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert done.returncode == 1 and "task 'nonsense' is unknown" in said
    assert ("\x1b[" in said) is coloured


def test_doctor_ends_with_what_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from medseg.engines import gpu

    monkeypatch.setattr(gpu, "driver_version", lambda: "")
    monkeypatch.setattr(gpu, "gpu_name", lambda: "")
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    can = {one["what"]: one["can"] for one in found["can"]}
    assert can["README's demo"] and can["train"] and not can["GPU engines"]
    states = {line["what"]: line["state"] for line in found["findings"] if not line["what"].startswith("port")}
    assert "problem" not in states.values() and states["NVIDIA driver"] == "absent"
    assert CliRunner().invoke(app, ["doctor"]).stdout.splitlines()[-1].split(maxsplit=2)[:2] == ["GPU", "engines"]
