"""Reading of a volume from a single-file format, which the suffix chooses."""

from __future__ import annotations

from pathlib import Path

from medseg.data import metaimage, nifti, nrrd
from medseg.data.companions import is_plain
from medseg.data.voxels import Volume
from medseg.errors import InputError
from medseg.task import Reading

_READERS = {
    **{".mhd": metaimage.read, ".mha": metaimage.read},
    **{".nrrd": nrrd.read, ".nhdr": nrrd.read},
    **{".nii": nifti.read, ".nii.gz": nifti.read},
}


def read_file(path: Path, reading: Reading) -> Volume:
    """The volume in a file; it need not be a CT. Raises InputError where it is incomplete, or not one volume."""
    if not is_plain(path):
        raise InputError(f"{path} is not a regular file; expected a volume on a disk")
    name = path.name.lower()
    reader = next(reader for suffix, reader in _READERS.items() if name.endswith(suffix))
    try:
        return reader(path, reading)
    except (OSError, MemoryError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); expected a file that fits into memory: try again"
        ) from error
