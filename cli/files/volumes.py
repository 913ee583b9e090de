"""Volumes of the command line and of Python: NIfTI files, DICOM files and folders of their slices."""

from __future__ import annotations

import itertools
from pathlib import Path

from ...engine.errors import VolumeError
from ...engine.volumes.given import Volume
from .dicom import is_dicom_file, read_series
from .find import natural
from .nifti import is_nifti, read_nifti

# Files of a folder that are looked at to tell what it holds.
_LOOKED_AT = 32


def is_volume_path(path: Path) -> bool:
    """Whether a path holds a volume: a NIfTI file, or a DICOM file or a folder of them."""
    if path.is_dir():
        return any(is_dicom_file(p) for p in itertools.islice(path.iterdir(), _LOOKED_AT) if p.is_file())
    return path.is_file() and (is_nifti(path) or is_dicom_file(path))


def read_volume(path: Path) -> tuple[Volume, tuple[str, ...]]:
    """The volume at a path, and what is to be said. Raises VolumeError."""
    if path.is_dir():
        files = sorted((p for p in path.iterdir() if p.is_file() and is_dicom_file(p)), key=natural)
        if not files:
            raise VolumeError("the folder holds no DICOM file")
        return read_series(files, "the folder of DICOM files")
    if not path.is_file():
        raise VolumeError(f"there is no file or folder {str(path)!r}")
    if is_dicom_file(path):
        return read_series([path], "the DICOM file")
    return read_nifti(path), ()
