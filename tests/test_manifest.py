"""Whatever is in a manifest.json, one sentence says what is wrong with it."""

import json
from pathlib import Path

import pytest

from medseg.errors import RunError
from medseg.run import Run
from tests.shared import SHARED, needs_shared

FILE = {"precision": "fp32", "suffix": ".onnx", "sha256": "0" * 64, "bytes": 3}
WHOLE = {
    "format": 1,
    "network": "luna-segment",
    "options": {"features": 4},
    "source": {"kind": "train", "size": 64, "split": {"train": ["a"], "validation": [], "rule": "all"}},
    "files": {"fp32.onnx": FILE},
    "parameters": 12,
    "result": {"best_by": "val_dice", "val_dice": 0.5},
}


def written(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(content)
    return folder


def changed(path: tuple[str, ...], value: object) -> dict[str, object]:
    """The complete manifest with one value replaced, or removed if the value is `...`."""
    manifest = json.loads(json.dumps(WHOLE))
    place = manifest
    for name in path[:-1]:
        place = place[name]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return manifest


def test_a_whole_manifest_is_read(tmp_path):
    run = Run(written(tmp_path, json.dumps(WHOLE).encode()))
    assert run.network == "luna-segment" and run.size == 64 and set(run.files) == {"fp32.onnx"}


@pytest.mark.parametrize("entry", ["network", "options", "source", "files", "format"])
@pytest.mark.parametrize("value", [..., None, [], 3, "", {"a": {"b": 1}}, True, 1e999])
def test_an_entry_of_another_kind_is_named(tmp_path, entry, value):
    fits = (entry, value) in [("network", ""), ("source", {"a": {"b": 1}})]
    folder = written(tmp_path, json.dumps(changed((entry,), value)).encode())
    if fits:
        Run(folder)
        return
    with pytest.raises(RunError, match=rf"manifest\.json .*({entry}|format)") as caught:
        Run(folder)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("files", "fp32.onnx"), []),
        (("files", "fp32.onnx", "sha256"), ...),
        (("files", "fp32.onnx", "sha256"), "x" * 64),
        (("files", "fp32.onnx", "sha256"), 3),
        (("files", "fp32.onnx", "bytes"), "3"),
        (("files", "fp32.onnx", "bytes"), -1),
        (("files", "fp32.onnx", "precision"), "half"),
        (("files", "fp32.onnx", "precision"), ["fp32"]),
        (("files", "fp32.onnx", "engine"), {}),
        (("files", "fp32.onnx", "gpu"), "sm89"),
        (("files", "fp32.onnx", "target"), {"batches": [1, 4]}),
        (("files", "fp32.onnx", "parity"), {"dice": "1"}),
        (("files", "fp32.onnx", "parity"), 1.0),
        (("options", "features"), [4]),
        (("source", "size"), "large"),
        (("source", "size"), 0),
        (("source", "split"), ["a"]),
        (("source", "split", "train"), "a"),
        (("source", "split", "train"), [["a"]]),
        (("source", "recipe"), [1]),
        (("parameters",), "many"),
        (("result",), [0.5]),
        (("result",), {"best_by": 3}),
        (("result",), {"best_by": "val_dice"}),
        (("result",), {"best_by": "val_dice", "val_dice": "good"}),
    ],
)
def test_a_value_deeper_down_is_named(tmp_path, path, value):
    with pytest.raises(RunError, match=rf"is not a run's manifest: .*{path[0]}"):
        Run(written(tmp_path, json.dumps(changed(path, value)).encode()))


@pytest.mark.parametrize(
    "name",
    [
        "../other.onnx",
        "/etc/passwd",
        "a/b.onnx",
        "..",
        ".",
        "",
        ".hidden",
        "a\x00b",
        "a\\b",
        "manifest.json",
        "a" * 256,
    ],
)
def test_a_file_lies_in_the_run(tmp_path, name):
    with pytest.raises(RunError, match="a file's plain name"):
        Run(written(tmp_path, json.dumps(changed(("files",), {name: FILE})).encode()))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 10,
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"1" * 5000,
        b"{}",
        b" " * (17 << 20),
    ],
)
def test_no_manifest_at_all(tmp_path, content):
    with pytest.raises(RunError, match=r"manifest\.json (is not|has)") as caught:
        Run(written(tmp_path, content))
    assert len(str(caught.value)) < 400


def test_a_folder_or_a_device_is_no_manifest(tmp_path):
    (tmp_path / "manifest.json").symlink_to("/dev/zero")
    with pytest.raises(RunError, match="is not a run"):
        Run(tmp_path)
    (tmp_path / "a" / "manifest.json").mkdir(parents=True)
    with pytest.raises(RunError, match="is not a run"):
        Run(tmp_path / "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is not a run"):
        Run(tmp_path / "file")


@needs_shared
@pytest.mark.parametrize("case", ["deep", "list", "no-files", "no-network"])
def test_the_hostile_manifests(case):
    with pytest.raises(RunError, match="manifest"):
        Run(SHARED / "cases/security/manifest" / case)
