"""Where the real data lies: a folder `shared` beside the checkout. Tests that need it skip with a reason where it is absent."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data in ../shared, which is not part of the repository")
