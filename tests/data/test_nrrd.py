"""NRRD: what its header says is read exactly, mended with a note, or refused with the reason."""

import bz2
import gzip
import os
from pathlib import Path

import pytest

from medseg.data.volume import read_volume
from tests.data import made
from tests.data.made import GIVEN, refused, right
from tests.data.test_metaimage import _planes

NRRD = {
    **{"type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "20 24 12"},
    **{"space directions": "(1.5,0,0) (0,1.5,0) (0,0,2)", "endian": "little", "encoding": "raw"},
    **{"space origin": "(-20,-15,-12)"},
}


def _nrrd(folder: Path, tail: bytes | None = None, suffix: str = ".nrrd", **changes: str | None) -> Path:
    """A header with these fields changed, or None taken away (underscores are blanks), and voxels behind or beside."""
    changes = {key.replace("_", " "): value for key, value in changes.items()}
    fields = {key: value for key, value in (NRRD | changes).items() if value is not None}
    text = "NRRD0004\n# made up\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
    path = folder / f"ct{suffix}"
    voxels = made.values().tobytes()
    (folder / "ct.raw").write_bytes(voxels)
    path.write_bytes(text.encode() + (b"\nx" if tail is None else tail)[:1] + (voxels if tail is None else tail[1:]))
    return path


def test_nrrd_by_every_spelling(tmp_path: Path) -> None:
    _planes(tmp_path)
    voxels = made.values().tobytes()
    names = "".join(f"s{number:02d}.raw\n" for number in range(1, 13)).encode()
    for path in (
        _nrrd(tmp_path),
        _nrrd(tmp_path, type="int16"),
        _nrrd(tmp_path, type="signed short int"),
        _nrrd(tmp_path, space="LPS", space_units='"mm" "mm" "mm"', kinds="domain domain domain"),
        _nrrd(tmp_path, space="right-anterior-superior", space_directions="(-1.5,0,0) (0,-1.5,0) (0,0,2)",
              space_origin="(20,15,-12)"),
        _nrrd(tmp_path, encoding="gzip", tail=b"\n" + gzip.compress(voxels)),
        _nrrd(tmp_path, encoding="bz2", tail=b"\n" + bz2.compress(voxels)),
        _nrrd(tmp_path, data_file="ct.raw", suffix=".nhdr", tail=b""),
        _nrrd(tmp_path, datafile="s%02d.raw 1 12 1", suffix=".nhdr", tail=b""),
        _nrrd(tmp_path, data_file="LIST", suffix=".nhdr", tail=b"s" + names[1:]),
        _nrrd(tmp_path, dimension="4", sizes="1 20 24 12", space_directions="none (1.5,0,0) (0,1.5,0) (0,0,2)"),
        _nrrd(tmp_path, byte_skip="-1", tail=b"\nleading" + voxels),
        _nrrd(tmp_path, endian="big", tail=b"\n" + made.values().astype(">i2").tobytes()),
    ):  # fmt: skip
        right(path)
    right(_nrrd(tmp_path, space_directions=None, spacings="1.5 1.5 2"), "no space directions")
    right(_nrrd(tmp_path, space=None), "names no space")
    volume = read_volume(_nrrd(tmp_path, space_directions=None), GIVEN)
    assert made.off(volume) == 0 and any("--spacing" in note for note in volume.notes)


NRRD_REFUSED: list[tuple[dict[str, str | None], str]] = [
    *[({"data_file": name}, "expected a file beside it") for name in ("/dev/zero", "/etc/passwd", "../ct.raw", "a/b")],
    ({"data_file": "pipe"}, "not a regular file"),
    ({"space_directions": None}, "no voxel spacing"),
    ({"space_directions": None, "spacings": "0 1 1"}, "voxel spacing 0"),
    ({"space_directions": None, "spacings": "nan 1 1"}, "voxel spacing nan"),
    ({"space_directions": "(0,0,0) (0,1.5,0) (0,0,2)"}, "voxel spacing 0"),
    ({"space_directions": "(nan,0,0) (0,1.5,0) (0,0,2)"}, "voxel spacing nan"),
    ({"space_directions": "(1.5,1,0) (0,1.5,0) (0,0,2)"}, "has shear"),
    ({"space_directions": "(1.5,0,0) (0,1.5,0)"}, "2 space directions for 3 axes"),
    ({"space_origin": "(nan,0,0)"}, "origin nan"),
    ({"sizes": "20 24 13"}, "truncated"),
    ({"sizes": "20 24 11"}, "its header states"),
    ({"sizes": "20 24"}, "sizes has 2 numbers"),
    ({"sizes": "1000000 1000000 1000000"}, "states 1000000 x"),
    ({"dimension": "1000000"}, "dimension is 1000000"),
    ({"dimension": "4", "sizes": "20 24 6 2", "space_directions": "(1,0,0) (0,1,0) (0,0,1) none"}, "holds 2 volumes"),
    *[({key: ""}, "has 0 numbers") for key in ("sizes", "dimension")],
    ({"space_directions": None, "spacings": ""}, "has 0 numbers"),
    ({"space_directions": ""}, "0 space directions for 3 axes"),
    ({"space_directions": "none none none"}, "places 0 of its 3 axes"),
    ({"space_directions": "(1.5,0,0) none none"}, "places 1 of its 3 axes"),
    ({"space_origin": ""}, "not made of numbers"),
    *[({key: ""}, "expected") for key in ("type", "endian", "encoding")],
    ({"type": "block"}, "voxels of type"),
    ({"endian": None}, "no endian"),
    ({"encoding": "ascii"}, "encodes its voxels"),
    ({"encoding": "gzip"}, "do not unpack"),
    ({"space_units": '"mm" "mm" "in"'}, "space units"),
    ({"Sizes": "20 24 12"}, "twice"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "what"), NRRD_REFUSED)
def test_nrrd_is_refused_with_the_reason(tmp_path: Path, changes: dict[str, str | None], what: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(_nrrd(tmp_path, **changes), what)
