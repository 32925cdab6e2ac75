"""Reading one volume from a path, and writing masks on its grid."""

from __future__ import annotations

from pathlib import Path

from medseg.data.voxels import SUFFIXES, Volume
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.task import Array, Geometry, Reading

_AS_IT_IS = Reading()
__all__ = ["SUFFIXES", "Volume", "read_volume", "write_mask"]


def read_volume(path: Path, reading: Reading = _AS_IT_IS) -> Volume:
    """The one CT in a path: a file, DICOM slices in a folder or a tree, a multi-frame object, or a zip of these.

    Raises InputError where there is none or more than one, and where it cannot be read.
    """
    from medseg.data.series import found

    several = found(path, reading)
    if len(several) > 1:
        names = ", ".join(one.name for one in several[:5]) + (", ..." if len(several) > 5 else "")
        raise InputError(f"{path} holds {len(several)} series or volumes ({names}); expected one: name one of them")
    return several[0].load()


def write_mask(path: Path, mask: Array, geometry: Geometry) -> None:
    """Write a mask (index, row, col) uint8, compressed, in the volume's own geometry. The suffix chooses the format."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    if path.suffix == ".mhd":  # it consists of two files, and one names the other: a temporary name does not work
        sitk.WriteImage(image, str(path), useCompression=True)
        return
    with whole_file(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
