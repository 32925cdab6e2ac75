"""Pictures as requests, and the answers as mask PNGs."""

from functools import partial
from pathlib import Path

from medseg.data.encoded import encoded_tensor
from medseg.data.image import read_bytes
from medseg.errors import InputError
from medseg.files import present, whole_file
from medseg.task import Reading, Request, Source, Tensors

SUFFIXES = (".png", ".jpg", ".jpeg")


def sources(path: Path, _: Reading) -> list[Source]:
    """The picture in a file; of a folder, every picture in it. Raises InputError where there is none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not pictures:
        raise InputError(f"{path} holds no pictures; expected {', '.join(SUFFIXES)} files: check the path")
    return [Source(file, file.stem, partial(_request, file)) for file in pictures]


def _request(file: Path) -> Request:
    return Request(file.stem, {"encoded": encoded_tensor([read_bytes(file)])}, file)


def answered(name: str, folder: Path) -> list[Path]:
    """The files of an earlier answer to a picture."""
    return present(folder, [f"{name}_mask.png"])


def write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write STEM_mask.png, 0/255; returns its path."""
    path = folder / f"{request.name}_mask.png"
    with whole_file(path) as temporary:
        temporary.write_bytes(answer["mask_png"][0])
    return [path]
