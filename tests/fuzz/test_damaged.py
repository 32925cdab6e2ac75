"""Damaged input of every kind is refused in one sentence, or read as it was; nothing crashes, hangs or stays silent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import served
from tests.fuzz.kinds import HERE
from tests.fuzz.outcomes import Campaign, tally


def check(campaign: Campaign, count: int, folder: Path, seed: int) -> None:
    count = max(3, int(count * campaign.share))
    found, bad = tally(campaign.outcomes(count, folder, seed))
    assert not bad, "\n".join(bad)
    assert found["clear"] >= campaign.clear * count, found


@pytest.mark.parametrize("name", HERE)
def test_50_damages(name: str, tmp_path: Path) -> None:
    check(HERE[name], 50, tmp_path, seed=0)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HERE)
def test_500_damages(name: str, tmp_path: Path) -> None:
    check(HERE[name], 500, tmp_path, seed=1)


@pytest.fixture(scope="module")
def on_a_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Campaign]]:
    pytest.importorskip("pytriton")
    pytest.importorskip("tritonclient.grpc")
    with served.serving_steps(tmp_path_factory.mktemp("fuzz")) as server:
        yield served.campaigns(server)


@pytest.mark.parametrize("name", served.NAMES)
def test_served_damages(on_a_server: dict[str, Campaign], name: str, tmp_path: Path) -> None:
    check(on_a_server[name], 50, tmp_path, seed=0)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", served.NAMES)
def test_many_served_damages(on_a_server: dict[str, Campaign], name: str, tmp_path: Path) -> None:
    check(on_a_server[name], 500, tmp_path, seed=1)
