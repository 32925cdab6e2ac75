"""The place of the real data: a folder `shared` beside the checkout. Without it, tests that need it are skipped."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data in ../shared, not in the repository")
