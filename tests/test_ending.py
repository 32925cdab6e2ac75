import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_S

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
@pytest.mark.skipif(True, reason="needs a ship")
def test_sail(number): pass

def test_dive():
    pytest.skip("needs a diver")

def test_swim(): pass
"""
FILE = "import pytest\npytest.importorskip('no_such_ship')\n"


def test_a_run_ends_with_what_was_skipped_by_reason(tmp_path: Path) -> None:
    (tmp_path / "test_sea.py").write_text(TESTS)
    (tmp_path / "test_ship.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.ending", f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=PATIENCE_S)
    *_, title, first, second, third, closing = done.stdout.splitlines()
    assert "skipped, and why" in title
    assert first == "    3  needs a ship"
    assert second.startswith("    1  could not import 'no_such_ship'") and second.endswith("(a whole file)")
    assert third == "    1  needs a diver"
    assert closing.startswith("1 passed, 5 skipped")
