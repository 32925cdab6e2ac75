"""What keeps a checkpoint out is said in one short sentence, and nothing in it is run."""

import gzip
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.errors import InputError
from medseg.models.checkpoint import load_state, parameter_count, read_weights
from tests.models.saved import STATE, refused, saved, small, under


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    file = saved(tmp_path, {"model_state": STATE, "x": Bomb()}, _use_new_zipfile_serialization=not legacy)
    assert "holds more than tensors and plain values (posix.system), which could run code" in refused(file)
    objects = np.array([Bomb()], object)
    assert refused(saved(tmp_path, {"model_state": STATE, "x": objects}, _use_new_zipfile_serialization=not legacy))
    assert not Path("exploded").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_network_is_named(tmp_path, legacy):
    file = saved(tmp_path, {"net": small()}, _use_new_zipfile_serialization=not legacy)
    assert "is a whole pickled network" in refused(file) and "state_dict()" in refused(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\0" * 5000, "begins with zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "is a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is an HTML page"),
        (b"\n  <html>", "is an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML page"),
        (b'{"message": "Not Found"}', "is a JSON text"),
        (json.dumps({"weight_map": {"a": "one.bin", "b": "two.bin"}}).encode(), "the index of weights in 2 files"),
        (b"outs:\n- md5: 0\n", "dvc pull"),
        (b"https://example.org/w.pt\n", "is a text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file, as Keras"),
        (b"\x93NUMPY\x01\x00" + bytes(100), "is one NumPy array"),
        (gzip.compress(b"weights", mtime=0), "is compressed with gzip"),
        (b"\x08\x0a\x12\x07pytorch\x1a\x032.0" + bytes(50), "is an ONNX file"),
        (pickle.dumps({"a": 1}), "is a plain Python pickle"),
        (b"PK\x03\x04 half a zip", "is cut off or damaged"),
        (b"not\xffa checkpoint", "cannot be read"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_a_file_is_instead_is_named(tmp_path, content, words, suffix):
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    refused(file)
    with pytest.raises(InputError, match=words):
        read_weights(file, STATE)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["model/data.pkl", "model/constants.pkl", "model/code/a.py"], "is a TorchScript program"),
        (["model/archive_format", "model/models/model.json"], "is a program of torch.export"),
        (["a.npy", "b.npy"], "is an archive of NumPy arrays"),
        (["config.json", "model.weights.h5"], "is a Keras model"),
        (["Dataset001/plans.json", "Dataset001/fold_0/checkpoint_final.pth"], "nnU-Net"),
        (["w.pth", "README.md"], "is a zip archive with w.pth in it: unpack it"),
        (["README.md"], "is a zip archive without weights"),
    ],
)
def test_what_a_zip_is_instead_is_named(tmp_path, names, words):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    assert words in refused(tmp_path / "w.pt")


def test_other_things_are_named(tmp_path):
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        archive.add(saved(tmp_path, STATE), "w.pt")
    assert "is a tar archive: unpack it" in refused(tmp_path / "w.tar")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "model.ckpt.index").write_bytes(b"\x00\x00\x01\x02")
    assert "TensorFlow checkpoint" in refused(tmp_path / "model.ckpt.index")
    assert "does not exist" in refused(tmp_path / "none.pt")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kind):
    if kind == "safetensors":
        save_file(STATE, tmp_path / "w.pt")
    else:
        saved(tmp_path, STATE, _use_new_zipfile_serialization=kind == "zip")
    whole = (tmp_path / "w.pt").read_bytes()
    for part in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "w.pt").write_bytes(whole[: int(len(whole) * part)])
        refused(tmp_path / "w.pt")


def test_flipped_bits_are_found(tmp_path):
    content = bytearray(saved(tmp_path, {"weight": torch.zeros(1000)}).read_bytes())
    content[content.find(bytes(2000)) + 1000] = 7
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged \(the checksum of .*data/0 differs"):
        read_weights(tmp_path / "w.pt", {"weight": torch.zeros(1000)})


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3},
        {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}},
        {"encoder.0.weight": torch.ones(3)},
        torch.ones(3),
        [],
        {},
        {"state_dict": None},
        {3: torch.ones(3)},
    ],
)
def test_a_file_without_these_weights_is_refused(tmp_path, content):
    assert "holds no weights of this network" in refused(saved(tmp_path, content))


def test_nesting_without_end_is_refused(tmp_path):
    circle: dict[str, object] = {}
    circle["a"] = circle
    assert "no weights" in refused(saved(tmp_path, circle))
    many: list[object] = []
    for _ in range(40):
        many = [many, many]
    assert "holds over" in refused(saved(tmp_path, many))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["last.weight", "unet.1.running_var"])
def test_weights_that_are_no_numbers_are_named(tmp_path, bad, key):
    state = {name: value.clone() for name, value in STATE.items()}
    state[key].view(-1)[-1] = bad
    assert f"has NaN or infinity in 1 of {len(state)} tensors ({key})" in refused(saved(tmp_path, state))


def test_numbers_that_are_too_large_for_their_type_are_named(tmp_path):
    half = {key: (value * 1e30).half() if key == "last.weight" else value for key, value in STATE.items()}
    assert "(last.weight)" in refused(saved(tmp_path, half))
    double = {key: value.double() * 1e300 if key == "last.weight" else value for key, value in STATE.items()}
    assert "(last.weight)" in refused(saved(tmp_path, double))
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        file = saved(tmp_path, {key: value.to(kind) if "num" not in key else value for key, value in STATE.items()})
        load_state(small(), read_weights(file, STATE).state, file)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(1, 2, 1, 1, dtype=torch.int8), "last.weight has int8"),
        (torch.ones(1, 2, 1, 1, device="meta"), "last.weight has no values"),
        (torch.ones(1, 2, 1, 1).to_sparse(), "last.weight is sparse"),
        (torch.ones(1, 2, 1, 1, dtype=torch.complex64), "last.weight has complex64"),
    ],
)
def test_what_cannot_be_weights_is_named(tmp_path, value, words):
    assert words in refused(saved(tmp_path, {**STATE, "last.weight": value}))


def test_every_kind_of_problem_is_in_one_short_error(tmp_path):
    state = {"0.weight": torch.zeros(5, 5), "1.weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(InputError) as caught:
        load_state(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), state, tmp_path / "a.pt")
    assert "2 missing (0.bias, 1.bias)" in str(caught.value)
    assert "1 unexpected (extra)" in str(caught.value)
    assert "1 misshapen (0.weight (5, 5) instead of (4, 3))" in str(caught.value)
    with pytest.raises(InputError, match=r"40 missing \(0\.weight, 0\.bias, 1\.weight and 37 more\)"):
        load_state(nn.Sequential(*[nn.Linear(2, 2)] * 20), {"extra": torch.zeros(1)}, tmp_path / "a.pt")


def test_batch_norms_from_before_the_counter_load(tmp_path):
    state = {key: value for key, value in STATE.items() if not key.endswith("num_batches_tracked")}
    file = saved(tmp_path, under("module.", state))
    load_state(small(), read_weights(file, STATE).state, file)


def test_parameter_count():
    assert parameter_count(nn.Linear(3, 2)) == 8
