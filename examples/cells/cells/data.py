"""A data folder: pictures/STEM.png and, where the truth is known, masks/STEM.png, in which all but 0 is looked for."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.augmentation import Augmentation
from medseg.data.check import Inspected, read_cases
from medseg.data.decoding import prepared
from medseg.data.encoded import RGB, encoded_tensor
from medseg.data.grid import NEAREST, png, resized
from medseg.data.image import GREY8, read_bytes, read_image
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, drawn
from medseg.errors import InputError
from medseg.task import Case, Data, Tensors, Training, Unread

from .network import NETWORK, SIZE
from .pipeline import DECODE


def patients(folder: Path) -> list[str]:
    """The names of all pictures, sorted; each counts as a patient."""
    return sorted(path.stem for path in (folder / "pictures").glob("*.png"))


def read(folder: Path, patient: str) -> list[Case]:
    """One picture (h, w, 3) uint8 as the only case, with its mask (h, w) uint8 0/1, None where there is none."""
    picture = read_image(folder / "pictures" / f"{patient}.png", RGB)
    path = folder / "masks" / f"{patient}.png"
    if not path.is_file():
        return [Case(patient, picture)]
    mask = (read_image(path, GREY8) > 0).astype(np.uint8)
    if mask.shape != picture.shape[:2]:
        raise InputError(f"{path}: is {mask.shape}; expected {picture.shape[:2]}, as its picture: draw it again")
    return [Case(patient, picture, mask)]


def cases(folder: Path, patient: str) -> list[Unread]:
    """The same case, and how it is asked."""
    path = folder / "pictures" / f"{patient}.png"
    known = (folder / "masks" / f"{patient}.png").is_file()
    return [Unread(patient, partial(_asked, path), (path,), patient, known=known)]


def _asked(path: Path) -> Tensors:
    return {"encoded": encoded_tensor([read_bytes(path)])}


def check(folder: Path) -> Iterator[Inspected]:
    """Every picture with what is wrong with it or its mask."""
    yield from (read_cases(name, partial(read, folder, name), ()) for name in patients(folder))


def samples(folder: Path, names: Sequence[str]) -> Samples:
    """The pictures with a mask as the network learns them, read when asked for."""
    known = tuple(name for name in names if (folder / "masks" / f"{name}.png").is_file())
    sizes = [float(np.sum(np.asarray(read(folder, name)[0].mask))) for name in known]
    return Samples(partial(_sample, folder, known), known, np.array(sizes))


def _sample(folder: Path, names: Sequence[str], index: int) -> Sample:
    (case,) = read(folder, names[index])
    return prepared(case.image, DECODE), resized(np.asarray(case.mask)[None], SIZE, NEAREST)


def phantom(folder: Path, count: int, seed: int) -> None:
    """Write made-up pictures, bright discs in noise, and their masks."""
    y, x = np.mgrid[:96, :128]
    for kind in ("pictures", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        mask = (y - rng.integers(20, 76)) ** 2 + (x - rng.integers(20, 108)) ** 2 < rng.integers(100, 400)
        picture = rng.normal(90, 20, (96, 128, 3)) + 100 * mask[..., None]
        (folder / "pictures" / f"{number:04}.png").write_bytes(png(picture.clip(0, 255).astype(np.uint8)))
        (folder / "masks" / f"{number:04}.png").write_bytes(png(mask * np.uint8(255)))


def split(folder: Path, seed: int, fold: int) -> Split:
    """One of four parts of the pictures, drawn with the seed, validates."""
    return drawn(patients(folder), 4, fold, seed)


TRAINING = Training(samples, Augmentation(flip=0.5, quarter_turns=0.5))
DATA = Data(patients, read, cases, check, phantom, split, training={NETWORK.name: TRAINING})
