"""The command line as a whole: quick to answer, one line for a mistake, documented as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from medseg.cli.reference import reference
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt_rtx",
    "nvidia.dali",
    "monai",
    "pytorch_lightning",
    "tritonclient",
)
MOST_MODULES = 400  # Python's own, NumPy's and Typer's are nearly all of the 321 that were counted


def _medseg(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medseg", *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys, medseg.cli.main, medseg.tasks; medseg.tasks.task_named('luna'); print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in HEAVY if f"'{name}'" in loaded]


def test_help_imports_little() -> None:
    """What makes it quick, counted rather than timed: a module that it does not need costs milliseconds."""
    command = [sys.executable, "-X", "importtime", "-m", "medseg", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    imported = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert 100 < len(imported) < MOST_MODULES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "luna", "nowhere.mhd", "--out", "x"], "--run and --url: got both or neither"),
        (["predict", "luna", "nowhere.mhd", "--run", "nowhere", "--out", "x"], "nowhere is not a run"),
        (["predict", "heart", "a.mhd", "--url", "http://127.0.0.1:1", "--out", "x"], "task 'heart' is unknown"),
        (
            ["predict", "stas", "a.jpg", "--url", "http://127.0.0.1:1", "--out", "x", "--roi", "lungs"],
            "--roi is not an option",
        ),
        (["serve", "luna"], "got no --run"),
        (["nonsense"], "No such command 'nonsense'"),
        (["predict"], "Missing argument 'task'"),
        (["serve", "luna", "--http-port", "x"], "--http-port"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(words: list[str], message: str) -> None:
    done = _medseg(*words)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_the_written_reference_is_the_real_help() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference(), "run `make docs`"


def test_the_changelogs_newest_version_is_ours() -> None:
    from medseg import __version__

    versions = [line.split()[1] for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert versions[0] == __version__
