"""A fit that learnt nothing leaves nothing in the next one's way, and no fit touches what another made."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from medseg.errors import RunError
from medseg.run import Run, describe
from medseg.train.begin import FITTING, beginning

FIT = {"kind": "train"}


def started(out: Path) -> Run:
    """What a fit makes before its first epoch ended."""
    run = Run.create(out, "picture", {}, FIT)
    describe(run, "{}\n")
    for name in ("checkpoints", "tensorboard"):
        (out / name).mkdir()
    (out / "tensorboard" / "events").write_text("")
    return run


def learnt(out: Path) -> Run:
    """The same with the first epoch's checkpoint."""
    run = started(out)
    (out / "checkpoints" / "last.ckpt").write_text("weights")
    return run


def finished(out: Path) -> None:
    """A whole run, whose checkpoints were removed to save room."""
    run = started(out)
    with run.adding("weights.pt", {}) as path:
        path.write_text("weights")
    run.record(result={"best_by": "val_dice", "val_dice": 0.5})


def imported(out: Path) -> None:
    """A run that no fit made."""
    Run.create(out, "picture", {}, {"kind": "import"})
    (out / "checkpoints").mkdir()


def with_a_file(out: Path) -> None:
    """A run of a fit without a result, that holds more than a fit makes at its start."""
    with started(out).adding("weights.pt", {}) as path:
        path.write_text("weights")


def begin_and_wait(out: Path, ready: Connection, make: Callable[[Path], object] | None) -> None:
    """A fit that goes on until it is killed."""
    with beginning(out):
        if make:
            make(out)
        ready.send(True)
        time.sleep(600)


def someones(name: str) -> Callable[[Path], None]:
    """A file, or one in a folder, of this name, that does not belong to a run."""

    def make(out: Path) -> None:
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("mine")

    return make


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("there", [False, True])
def test_a_fit_that_fails_before_its_first_epoch_ended_leaves_what_was_there(
    error: type[BaseException], there: bool, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    if there:
        someones("notes/mine.txt")(out)
    before = tree(tmp_path)
    with pytest.raises(error), beginning(out):
        started(out)
        raise error
    assert tree(tmp_path) == before


def test_a_fit_that_fails_later_keeps_its_epochs_and_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), beginning(tmp_path / "run"):
        learnt(tmp_path / "run")
        raise RuntimeError
    before = tree(tmp_path)
    assert "run/checkpoints/last.ckpt" in before and f"run/{FITTING}" not in before
    with pytest.raises(RuntimeError), beginning(tmp_path / "run", resume=True):
        raise RuntimeError
    assert tree(tmp_path) == before


@pytest.mark.parametrize("make", [None, started])
def test_a_fit_that_is_killed_before_its_first_epoch_ended_is_in_nobodys_way(
    make: Callable[[Path], object] | None, tmp_path: Path
) -> None:
    out, forked = tmp_path / "run", multiprocessing.get_context("fork")
    told, ready = forked.Pipe(duplex=False)
    process = forked.Process(target=begin_and_wait, args=(out, ready, make), daemon=True)
    process.start()
    assert told.poll(60) and told.recv()
    before = tree(out)
    with pytest.raises(RunError, match="is being fitted by another process"), beginning(out):
        pytest.fail("two fits in one folder")
    assert tree(out) == before and process.is_alive()
    process.kill()
    process.join()
    with beginning(out):
        assert tree(out).keys() == {FITTING}
        learnt(out)
    assert FITTING not in tree(out)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (learnt, "already holds a run"),
        (finished, "already holds a run"),
        (imported, "already holds a run"),
        (with_a_file, "already holds a run"),
        (someones("checkpoints/last.ckpt"), "checkpoints does not belong to a run"),
        (someones("wandb/log"), "wandb does not belong to a run"),
        (someones("history.csv"), "history.csv does not belong to a run"),
        (someones("segmentation.json"), "segmentation.json does not belong to a run"),
        (someones("weights.pt"), "weights.pt does not belong to a run"),
        (someones("manifest.json"), "is not valid JSON"),
    ],
)
def test_what_no_failed_fit_left_is_never_touched(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    make(tmp_path / "run")
    before = tree(tmp_path)
    with pytest.raises(RunError, match=words), beginning(tmp_path / "run"):
        pytest.fail("the fit began")
    assert tree(tmp_path) == before
    with pytest.raises(RuntimeError), beginning(tmp_path / "run", resume=True):
        raise RuntimeError
    assert tree(tmp_path) == before
