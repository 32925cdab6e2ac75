"""`medseg predict`: several files in flight, answers in order, and one bad file that stops no other."""

import csv
import gc
import os
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from medseg.api.predict import Asked, predictions
from medseg.api.predictor import Ask
from medseg.api.sources import Destination, found
from medseg.errors import InputError
from medseg.task import Reading, Request, Source, Tensors
from medseg.tasks import task_named
from medseg.tasks.gi_tract.files import slice_id, submit
from tests.patience import PATIENCE_S

TASK = task_named("gi-tract")


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    TASK.known_data("test").phantom(tmp_path / "data", 1, 0)
    return sorted((tmp_path / "data").rglob("*.png"))[:8]


def _answer(tensors: Tensors) -> Tensors:
    return TASK.pipeline(tensors, lambda _: lambda batch: 20 * batch - 8)


def _predicted(
    inputs: Sequence[Path], out: Path, concurrency: int = 1, ask: Ask = _answer
) -> Iterator[tuple[str, list[Path]]]:
    return predictions(TASK, found(TASK, inputs, Reading()), ask, Destination(out), Asked(concurrency))


def test_answers_come_in_the_files_order_while_several_are_in_flight(slices: list[Path], tmp_path: Path) -> None:
    flying, most, lock, three = [0], [0], threading.Lock(), threading.Event()

    def ask(tensors: Tensors) -> Tensors:
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
            late = flying[0] % 2  # every other one takes longer
            if most[0] == 3:
                three.set()
        assert three.wait(PATIENCE_S), "three are never asked at once"
        time.sleep(0.1 * late)
        with lock:
            flying[0] -= 1
        return _answer(tensors)

    names = [name for name, _ in _predicted(slices, tmp_path / "out", 3, ask)]
    assert names == [slice_id(path) for path in slices]
    assert most == [3]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_bad_files_are_told_by_name_and_the_others_go_on(
    slices: list[Path], tmp_path: Path, concurrency: int, capsys: pytest.CaptureFixture[str]
) -> None:
    slices[2].write_bytes(b"no picture")
    slices[5].unlink()
    folder, missing = slices[0].parent, slices[5]
    inputs = [folder / path.name for path in slices[:5]] + [missing, *slices[6:]]
    written = []
    with pytest.raises(InputError, match="2 of 8 files could not be answered"):
        for name, paths in _predicted(inputs, tmp_path / "out", concurrency):
            written.append(name)
            assert all(path.is_file() for path in paths)
    assert len(written) == 6
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and slices[2].name.split("_")[1] in errors[0] and str(missing) in errors[1]
    with (tmp_path / "out" / "submission.csv").open() as table:
        assert [row["id"] for row in csv.DictReader(table)][::3] == written


def test_a_bad_file_in_a_folder_is_passed_over_too(slices: list[Path], tmp_path: Path) -> None:
    slices[1].write_bytes(slices[1].read_bytes()[:90])
    count = len(list((tmp_path / "data").rglob("*.png")))
    with pytest.raises(InputError, match=f"1 of {count} files"):
        list(_predicted([tmp_path / "data"], tmp_path / "out", 2))


def test_a_file_alone_raises_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"^one: slice is no picture"):
        list(_predicted([tmp_path / "one.png"], tmp_path))


def test_new_rows_are_appended_and_a_slice_that_was_there_is_replaced(tmp_path: Path) -> None:
    table = tmp_path / "submission.csv"
    submit(table, "one", ["1 2", "", ""])
    file = table.stat().st_ino
    for number in range(5):
        submit(table, f"slice {number}", ["", "", f"{number} 1"])
    assert table.stat().st_ino == file, "written anew, it would be another file"
    submit(table, "slice 3", ["7 7", "", ""])
    with table.open("a") as cut:
        cut.write("half,large_bowel,1 ")  # as a kill leaves it
    submit(table, "six", ["", "6 6", ""])
    with table.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows][::3] == ["one", "slice 0", "slice 1", "slice 2", "slice 4", "slice 3", "six"]
    assert [row["predicted"] for row in rows if row["id"] == "slice 3"] == ["7 7", "", ""]


def test_what_killed_clients_and_servers_left_in_shared_memory_is_removed_and_nothing_else() -> None:
    memory = pytest.importorskip("medseg.triton_models.memory")
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = [Path(f"/dev/shm/{name}_{ended.pid}_test") for name in ("medseg", "medseg-client")]
    ours = Path(f"/dev/shm/medseg-client_{os.getpid()}_test")
    for path in (*left, ours):
        path.write_bytes(np.zeros(8).tobytes())
    memory.remove_stale()
    assert ours.is_file() and not any(path.exists() for path in left)
    ours.unlink()


@pytest.mark.parametrize("refused", ["file", "answer"])
def test_nothing_is_kept_of_what_was_refused(refused: str, tmp_path: Path) -> None:
    """What an error holds would stay until Python looks for cycles, which it may not do for many CTs."""
    voxels: list[weakref.ref[np.ndarray]] = []

    def load() -> Request:
        made = np.zeros(9, np.uint8)
        voxels.append(weakref.ref(made))
        if refused == "file":
            raise InputError("no CT")
        return Request("", {"encoded": made}, None)

    def ask(tensors: Tensors) -> Tensors:
        raise InputError(f"no CT in {len(tensors)} tensors")

    sources = [Source(f"one-{number}", tmp_path, load) for number in range(3)]
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(InputError, match="3 of 3 files"):
            list(predictions(TASK, sources, ask, Destination(tmp_path), Asked(2)))
        assert [one() for one in voxels] == [None] * 3
    finally:
        gc.enable()
