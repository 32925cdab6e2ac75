"""A deflated DICOM file is read like any other, and one that unpacks to far more than a slice takes is refused."""

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.data import deflated
from medseg.data.volume import read_volume
from medseg.errors import InputError
from tests.data import made


def _deflated(one: pydicom.Dataset) -> pydicom.Dataset:
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return one


def test_a_deflated_series_is_the_series(tmp_path: Path) -> None:
    plain = read_volume(made.written(tmp_path / "plain", made.slices()))
    found = read_volume(made.written(tmp_path / "ct", [_deflated(one) for one in made.slices()]))
    assert np.array_equal(found.array, plain.array) and found.geometry == plain.geometry


@pytest.mark.parametrize("preamble", [True, False])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, preamble: bool) -> None:
    folder = made.written(tmp_path / "ct", [_deflated(one) for one in made.slices()])
    path = sorted(file for file in folder.iterdir() if file.is_file())[0]
    whole = path.read_bytes()
    length = int.from_bytes(whole[140:144], "little")  # of the file's own elements, behind which all is deflated
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(stream.compress(bytes(1 << 24)) for _ in range(128)) + stream.flush()
    path.write_bytes(whole[0 if preamble else 132 : 144 + length] + bomb)
    assert len(bomb) < 4 << 20
    with pytest.raises(InputError, match=r"unpacks to over .* MiB; expected a CT slice"):
        read_volume(folder)


def test_no_more_than_the_bound_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zlib.compress(bytes(1 << 20))[2:-4]
    deflated._check(Path("a.dcm"), packed)
    deflated._check(Path("a.dcm"), b"no deflated data")
    monkeypatch.setattr(deflated, "_FREE_BYTES", 1000)
    with pytest.raises(InputError, match="is deflated"):
        deflated._check(Path("a.dcm"), packed)
