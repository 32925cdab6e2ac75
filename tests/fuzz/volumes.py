"""Damaged volumes of every format: refused in one sentence, read as they were, or read otherwise with a note.

Altered are others with a note that says so, and the same voxels with another number in a header, which nobody can tell
from the right one. Pixels that nothing vouches for are left alone: headers and lengths are hurt.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from tests.data import made
from tests.fuzz.outcomes import Campaign, Outcome, outcome
from tests.fuzz.worker import Answer, Reader

JUNK = [
    "",
    "nan",
    "-1",
    "0",
    "1e9",
    "1000000",
    "inf",
    "-0.5",
    "../ct.raw",
    "/etc/passwd",
    "/dev/zero",
    "%d 0 9 1",
    "1 2",
    "X" * 99,
]


@dataclass(frozen=True)
class Format:
    """How to write one, and what of its bytes may be damaged."""

    write: Callable[[Path], Path]  # a folder -> what is read
    checked: bool = False  # a checksum vouches for all that follows the header
    text: bool = False  # its header is lines
    share: float = 1.0  # of the damages: a compressed series is decoded in a process that takes a while to start
    restated: Callable[[bytes], list[range]] = lambda _: []  # bytes that scale the values: one is as good as another


def _itk(suffix: str, packed: bool) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        sitk.WriteImage(made.image(), str(folder / f"ct{suffix}"), useCompression=packed)
        return folder / f"ct{suffix}"

    return write


def _nifti2(folder: Path) -> Path:
    affine = np.diag([-1.5, -1.5, 2.0, 1.0])
    nibabel.Nifti2Image(made.values().transpose(2, 1, 0), affine).to_filename(folder / "ct.nii")
    return folder / "ct.nii"


def _pattern(folder: Path) -> Path:
    for number, plane in enumerate(made.values(), 1):
        (folder / f"s{number:02d}.raw").write_bytes(plane.tobytes())
    (folder / "ct.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 20 24 12\nElementType = MET_SHORT\nElementSpacing = 1.5 1.5 2\n"
        "Offset = -20 -15 -12\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementDataFile = s%02d.raw 1 12 1\n"
    )
    return folder / "ct.mhd"


def _dicom(syntax: str = "") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        series = made.slices()[:4]
        return made.written(folder / "ct", [made.compressed(one, syntax) for one in series] if syntax else series)

    return write


def _enhanced(folder: Path) -> Path:
    return made.written(folder / "ct", [made.enhanced(made.slices()[:4])])


def _zip(folder: Path) -> Path:
    import shutil

    made.written(folder / "in" / "ct", made.slices()[:4])
    path = Path(shutil.make_archive(str(folder / "ct"), "zip", folder / "in"))
    shutil.rmtree(folder / "in")
    return path


def _rescale(whole: bytes) -> list[range]:
    """Of one object, which has no other slice to differ from: how its values are stored and rescaled."""
    tags = [b"\x28\x00\x00\x01", b"\x28\x00\x52\x10", b"\x28\x00\x53\x10"]
    return [range(whole.index(tag), whole.index(tag) + 44) for tag in tags]


FORMATS = {
    "mhd": Format(_itk(".mhd", False), text=True),
    "mhd packed": Format(_itk(".mhd", True), checked=True, text=True),
    "mhd pattern": Format(_pattern, text=True),
    "mha": Format(_itk(".mha", False), text=True),
    "mha packed": Format(_itk(".mha", True), checked=True, text=True),
    "nrrd": Format(_itk(".nrrd", False), text=True),
    "nrrd packed": Format(_itk(".nrrd", True), checked=True, text=True),
    "nii": Format(_itk(".nii", False), restated=lambda _: [range(112, 120)]),
    "nii.gz": Format(_itk(".nii.gz", True), checked=True),
    "nifti-2": Format(_nifti2, restated=lambda _: [range(176, 192)]),
    "dicom": Format(_dicom()),
    "dicom rle": Format(_dicom("RLELossless"), share=0.1),
    "dicom jpeg-ls": Format(_dicom("JPEGLSLossless"), share=0.1),
    "dicom jpeg": Format(_dicom("JPEGLosslessSV1"), share=0.1),
    "dicom jpeg 2000": Format(_dicom("JPEG2000Lossless"), share=0.1),
    "enhanced": Format(_enhanced, restated=_rescale),
    "zip": Format(_zip, checked=True),
}


def outcomes(name: str, count: int, folder: Path, seed: int) -> Iterator[Outcome]:
    """Damages one by one, each read in a process of its own, which a crash or a hang ends alone."""
    form, rng = FORMATS[name], np.random.default_rng(seed)
    path = form.write(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with closing(Reader()) as reader:
        whole = reader.read(path)
        for number in range(count):
            file = files[int(rng.integers(len(files)))]
            kept = file.read_bytes()
            what, content = _damage(rng, form, kept, number)
            file.write_bytes(content)
            word = outcome(lambda: reader.read(path), lambda found: found == whole, partial(_is_told, whole))
            yield word, f"{number} {file.name} {what}"
            file.write_bytes(kept)
        assert reader.read(path) == whole


def _is_told(whole: Answer, found: Answer) -> bool:
    """Whether a note says that something is odd, or only a number of the header is another, as right as the first."""
    return found.notes > whole.notes or found.pixels == whole.pixels


def _damage(rng: np.random.Generator, form: Format, whole: bytes, number: int) -> tuple[str, bytes]:
    """What was done, and the damaged bytes."""
    end = _header_end(whole)
    if end == 0:  # nothing but pixels
        number = number % 2
    match number % 5:
        case 0:
            cut = int(rng.integers(0, len(whole)))
            return f"cut at {cut}", whole[:cut]
        case 1:
            return "longer", whole + rng.bytes(int(rng.integers(1, 2000)))
        case 2 if form.text and end:
            return _with_header(rng, whole, end)
        case 3:
            return "empty or other", [b"", b"\0" * len(whole), b"<html><body>Sign in</body></html>", b"{}"][
                number // 5 % 4
            ]
    data = bytearray(whole)
    reach = len(whole) if form.checked else end
    for at in rng.integers(0, max(1, reach), int(rng.integers(1, 6))):
        if not any(int(at) in part for part in form.restated(whole)):
            data[at] ^= 1 << int(rng.integers(8))
    return "bits", bytes(data)


def _header_end(whole: bytes) -> int:
    """Where a header ends, behind which nothing vouches for the bytes."""
    for mark, more in ((b"LOCAL\n", 6), (b"\n\n", 2), (b"\xe0\x7f\x10\x00", 0)):
        if mark in whole[:20000]:
            return whole.index(mark) + more
    if whole[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0"):
        return whole[0] + 256 * whole[1]
    return len(whole) if whole[:6] == b"Object" or whole[:2] in (b"PK", b"\x1f\x8b", b"\x78\x9c") else 0


def _with_header(rng: np.random.Generator, whole: bytes, end: int) -> tuple[str, bytes]:
    """A line of the header taken away, doubled, or given another value."""
    lines = whole[:end].splitlines(keepends=True)
    at = int(rng.integers(0, len(lines)))
    key, mark, _ = lines[at].partition(b"=" if b"=" in lines[at] else b":")
    match int(rng.integers(4)):
        case 0:
            lines[at] = b""
        case 1:
            lines.insert(at, lines[at])
        case _ if mark:
            other = JUNK[int(rng.integers(len(JUNK)))].encode()
            lines[at] = key + mark + b" " + other + b"\n"
    return f"header line {at} {lines[at]!r}", b"".join(lines) + whole[end:]


CAMPAIGNS = {
    f"volume, {name}": Campaign(partial(outcomes, name), clear=0.25, share=form.share) for name, form in FORMATS.items()
}
