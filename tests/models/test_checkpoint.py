"""A checkpoint is read without running its code; what is missing, unexpected or misshapen in it is said."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.errors import InputError
from medseg.models.checkpoint import load_state, parameter_count, read_state


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict", "model_state_dict", "model"])
def test_state_is_found_where_authors_put_it(tmp_path, wrapper):
    state = nn.Linear(3, 2).state_dict()
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "a.pt")
    assert read_state(tmp_path / "a.pt").keys() == state.keys()


def test_data_parallel_prefix_is_dropped(tmp_path):
    torch.save(nn.DataParallel(nn.Linear(3, 2)).state_dict(), tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == {"weight", "bias"}


def test_safetensors_are_read(tmp_path):
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "a.safetensors")
    assert set(read_state(tmp_path / "a.safetensors")) == {"weight", "bias"}


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state": Bomb()}, "bomb.pt")
    with pytest.raises(InputError, match=r"bomb\.pt is damaged or holds more than tensors"):
        read_state(Path("bomb.pt"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_file_is_named(tmp_path, content, suffix):
    file = tmp_path / f"damaged{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.\w+ (cannot be read|is damaged)"):
        read_state(file)


def test_truncated_file_is_named(tmp_path):
    torch.save(nn.Linear(300, 200).state_dict(), tmp_path / "a.pt")
    half = (tmp_path / "a.pt").read_bytes()[:50_000]
    (tmp_path / "a.pt").write_bytes(half)
    with pytest.raises(InputError, match=r"a\.pt"):
        read_state(tmp_path / "a.pt")


def test_file_without_weights_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds no weights"):
        read_state(tmp_path / "a.pt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt does not exist"):
        read_state(tmp_path / "none.pt")


def test_every_problem_is_in_one_error(tmp_path):
    state = {"0.weight": torch.zeros(5, 5), "1.weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(InputError) as caught:
        load_state(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), state, tmp_path / "a.pt")
    assert "2 missing (0.bias, 1.bias)" in str(caught.value)
    assert "1 unexpected (extra)" in str(caught.value)
    assert "1 misshapen (0.weight (5, 5) instead of (4, 3))" in str(caught.value)


def test_batch_norms_from_before_the_counter_load(tmp_path):
    state = nn.BatchNorm2d(3).state_dict()
    del state["num_batches_tracked"]
    load_state(nn.BatchNorm2d(3), state, tmp_path / "a.pt")


def test_parameter_count():
    assert parameter_count(nn.Linear(3, 2)) == 8
