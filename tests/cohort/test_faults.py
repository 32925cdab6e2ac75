"""One bad case never stops the others: whatever it does to its worker, each is done or failed, with its reason."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import DONE, FAILED, Pool, Work
from medseg.cohort.ledger import Entry, Ledger
from medseg.cohort.local import Local
from medseg.errors import RunError
from tests.cohort.faulty import MADE_BY, TASK, work
from tests.patience import PATIENCE_S

HOW = {"task": "faulty", **MADE_BY}
FAULTS = {  # what a file says -> what the ledger says of it
    "refuse": "is damaged; expected words",
    "raise": "ValueError: something broke",
    "memory": "MemoryError",
    "crash": "its worker was killed by SIGSEGV while it was at its infer stage",
    "kill": "its worker was killed by SIGKILL (out of memory, or by a person) while it was at its infer stage",
    "hang": "its infer stage took over 4 s (--timeout)",
}


def carried_out(words: list[Path], out: Path, pools: Callable[[Work], Pool], rules: Rules | None = None) -> Ledger:
    """A cohort of faulty's files."""
    return batch(TASK, [str(one) for one in words], out, (work(), HOW), pools, rules or Rules(retry=1))


def written(folder: Path, words: dict[str, str]) -> Path:
    """A folder with a file of each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in words.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def check_whole(out: Path, ledger: Ledger) -> None:
    """Every answer that is listed is there to the last byte, and nothing else is."""
    from medseg.files import sha256

    listed = {name: digest for entry in ledger.entries.values() for name, digest in entry.files.items()}
    there = {path.relative_to(out).as_posix() for path in (out / "answers").rglob("*") if path.is_file()}
    assert there == listed.keys()
    assert all(sha256(out / name) == digest for name, digest in listed.items())
    assert not (out / ".scratch").exists() or not list((out / ".scratch").iterdir())


@pytest.mark.slow
def test_bad_cases_fail_with_their_reasons_and_all_others_are_done(tmp_path: Path) -> None:
    good = {f"good-{number:02}": f"good {number}" for number in range(30)}
    once = {"once": f"once {tmp_path / 'marker'}"}
    folder = written(tmp_path / "in", good | once | {f"bad-{name}": name for name in FAULTS})
    heard: list[Entry] = []
    rules = Rules(retry=1, heard=heard.append)
    ledger = carried_out([folder], tmp_path / "out", lambda one: Local([one] * 2, timeout_s=4), rules)
    assert ledger.entries.keys() == good.keys() | once.keys() | {f"bad-{name}" for name in FAULTS}
    assert len(heard) == len(ledger.entries), "each is over once"
    for name, said in FAULTS.items():
        entry = ledger.entries[f"bad-{name}"]
        assert (entry.status, entry.files) == (FAILED, {}) and said in entry.error, entry
        assert entry.attempts == (1 if name == "refuse" else 2)
    done = [entry for entry in ledger.entries.values() if entry.status == DONE]
    assert len(done) == len(good) + 1 and all(entry.error == "" for entry in done)
    check_whole(tmp_path / "out", ledger)


def test_a_worker_that_cannot_begin_is_told_and_ends_the_call(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", {"one": "good"})
    broken = Work("gi-tract", "", (str(tmp_path / "no-run"),), expected=MADE_BY)
    with pytest.raises(RunError, match="no-run"):
        batch(TASK, [str(folder)], tmp_path / "out", (broken, HOW), lambda one: Local([one]), Rules())


def test_two_calls_at_once_do_not_share_a_ledger(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", {"one": "good", "two": "good"})
    begun, refused = threading.Event(), threading.Event()
    rules = Rules(begun=lambda *_: begun.set() or refused.wait(PATIENCE_S))
    first: list[Ledger] = []
    call = threading.Thread(
        target=lambda: first.append(carried_out([folder], tmp_path / "out", lambda one: Local([one]), rules))
    )
    call.start()
    assert begun.wait(PATIENCE_S)
    with pytest.raises(RunError, match="is being written by process"):
        carried_out([folder], tmp_path / "out", lambda one: Local([one]))
    refused.set()
    call.join()
    check_whole(tmp_path / "out", first[0])
