"""Short levels of load: what the tests look at does not depend on how long a level goes on."""

from dataclasses import replace

import pytest

from medseg.bench.measure import load


@pytest.fixture(autouse=True)
def short_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "QUICK", replace(load.QUICK, window_s=0.2, limit_s=1.0))
