"""200 damaged pictures of each format through the real server, which goes on answering."""

from pathlib import Path

import pytest

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")

from benchmarks.damaged_requests import FORMATS, campaign, decoding, served, whole
from medseg.triton_models.watch import processes
from tests.dali_pipelines.damage import damaged, strange


@pytest.mark.slow
def test_every_damaged_picture_is_refused_or_answered_rightly(tmp_path: Path) -> None:
    tasks = [decoding(name) for name in FORMATS]
    with served(tasks, tmp_path) as server:
        before = processes(server)
        for task in tasks:
            files = [*damaged(whole(task.name), 200), *(data for _, data in strange())]
            found = campaign(server, task, files)
            assert set(found) <= {"refused", "answered"}, found
            assert found["refused"] >= 100
            assert campaign(server, task, [whole(task.name)] * 4) == {"answered": 4}
        assert processes(server) == before
        assert server.process.poll() is None
