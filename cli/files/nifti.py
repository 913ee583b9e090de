"""NIfTI: volumes with their affine, read and written."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import VolumeError
from ...engine.volumes.given import MOST_VOXELS, Volume

SUFFIXES = (".nii", ".nii.gz")
_HEAD = 352
_MAGIC = (b"n+1\0", b"n+2\0")


def is_nifti(path: Path) -> bool:
    """Whether a file holds a NIfTI volume, by its first bytes, or is named as one."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            head = gzip.GzipFile(fileobj=file).read(_HEAD) if start == b"\x1f\x8b" else file.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return path.name.lower().endswith(SUFFIXES) and path.is_file()  # said when it is read
    return head[344:348] in _MAGIC or head[4:8] in _MAGIC or path.name.lower().endswith(SUFFIXES)


def read_nifti(path: Path) -> Volume:
    """The volume in a NIfTI file, of several in one file as channels. Raises VolumeError."""
    try:
        import nibabel
    except ImportError:
        raise VolumeError("NIfTI needs the extra medical: pip install 'onnxray[medical]'") from None
    where = repr(str(path))
    try:
        image = nibabel.load(path)
        shape = image.shape
        if len(shape) not in (3, 4) or int(np.prod(shape)) > MOST_VOXELS:
            text = "x".join(map(str, shape))
            raise VolumeError(f"{where} is of {text}: a volume has 3 axes, or 4, and at most {MOST_VOXELS} voxels")
        values = np.asarray(image.dataobj, np.float32)
        affine = np.asarray(image.affine, np.float64)
    except VolumeError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        raise VolumeError(f"{where} cannot be read as NIfTI: {said or type(error).__name__}") from None
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    try:
        return Volume(values.T, affine=affine, name=path.name.partition(".")[0] or "volume")
    except VolumeError as error:
        raise VolumeError(f"{where}: {error}") from None


def nifti_of(values: NDArray[np.float32], affine: NDArray[np.float64]) -> bytes:
    """A compressed NIfTI file of (D, H, W) with that affine, the same bytes for the same values. Raises VolumeError."""
    try:
        import nibabel
    except ImportError:
        raise VolumeError("NIfTI needs the extra medical: pip install 'onnxray[medical]'") from None
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.T, np.float32), affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)
