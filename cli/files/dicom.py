"""DICOM: single pictures as they are looked at, series as volumes. Nothing that names a patient leaves this file."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError, VolumeError
from ...engine.volumes.given import MOST_VOXELS, Volume
from .images import MAX_PIXELS

# Slices of a series at most.
MOST_SLICES = 2000
_START = 132
# Steps between slices of a series that differ by more than this share mean that slices are missing.
_GAP = 0.2
_FOR_READING = "DICOM needs the extra medical: pip install 'onnxray[medical]'"


def is_dicom(start: bytes) -> bool:
    """Whether bytes begin a DICOM file."""
    return start[_START - 4 : _START] == b"DICM"


def is_dicom_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(_START))
    except OSError:
        return False  # said when it is read


def windowed(values: NDArray[np.float64], centre: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
    """Values through a window, 0 to 1 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3). Raises ValueError for another
    function."""
    if function == "LINEAR":
        if width <= 1:
            return (values > centre - 0.5).astype(np.float64)
        return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    raise ValueError(f"the window function {function!r} is none of DICOM's")


def picture_of(data: bytes, where: str, window: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """The picture in a DICOM file as it is looked at, uint8 (H, W, 3) RGB: rescaled, windowed, MONOCHROME1 inverted.

    window: (black, white), in place of the file's first window. Of several frames the middle one. Raises ImageError.
    """
    with _refused(where, ImageError):
        dataset = _read(data)
        if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
            raise ImageError(f"{where} has {dataset.Rows} x {dataset.Columns} pixels, more than {MAX_PIXELS}")
        pixels = _frames(dataset)
        frame = pixels[len(pixels) // 2]
        if frame.ndim == 3:
            scale = 255 / ((1 << int(dataset.BitsStored)) - 1)
            return np.ascontiguousarray(np.rint(frame * scale).astype(np.uint8))
        shown = _looked_at(frame, dataset, window)
        if str(dataset.PhotometricInterpretation) == "MONOCHROME1":
            shown = 1 - shown
        return np.repeat(np.rint(shown * 255).astype(np.uint8)[..., None], 3, axis=2)


def _looked_at(frame: NDArray[Any], dataset: Any, window: tuple[float, float] | None) -> NDArray[np.float64]:
    """0 to 1, black to white, before MONOCHROME1: through the window given, the file's LUT or window, or its range."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = np.asarray(apply_modality_lut(frame, dataset), np.float64)
    if window is not None:
        return np.clip((values - window[0]) / (window[1] - window[0]), 0, 1)
    if dataset.get("VOILUTSequence"):
        item = dataset.VOILUTSequence[0]
        shown = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
        return np.clip(shown / ((1 << int(item.LUTDescriptor[2])) - 1), 0, 1)
    found = window_of(dataset)
    if found is None:
        low, high = float(values.min()), float(values.max())
        return (values - low) / ((high - low) or 1.0)
    return windowed(values, *found)


def window_of(dataset: Any) -> tuple[float, float, str] | None:
    """Centre, width and function of the file's first window; None where it has none."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None or centre == "" or width == "":
        return None
    first = [float(value[0] if hasattr(value, "__len__") else value) for value in (centre, width)]
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    return None if first[1] <= 0 else (first[0], first[1], function)


def read_series(paths: Sequence[Path], where: str) -> tuple[Volume, tuple[str, ...]]:
    """The slices of one series as a volume in the units of its rescale, and what is to be said.

    Slices are sorted by their position along the normal of their plane. Raises VolumeError for several series, slices
    of several sizes or directions, colours, and files that cannot be read.
    """
    if len(paths) > MOST_SLICES:
        raise VolumeError(f"{where} has {len(paths)} slices, more than the limit of {MOST_SLICES}: give fewer")
    with _refused(where, VolumeError):
        slices = [_slice_of(path) for path in paths]
        found = [one for one in slices if one is not None]
        if not found:
            raise VolumeError(f"{where} holds no DICOM file with pixels")
        if len({one.series for one in found}) > 1:
            count = len({one.series for one in found})
            raise VolumeError(f"{where} holds {count} series, which are different scans: give the files of one")
        if len({(one.shape, one.direction) for one in found}) > 1:
            raise VolumeError(f"{where} holds slices of several sizes or directions: give the files of one stack")
        return _stacked(found, where)


@dataclass(frozen=True)
class _Slice:
    """The head of a file: `position` (mm, LPS) of the first pixel, `direction` of rows and columns, `step` between
    rows, and columns; `thickness` of a slice; `frames` in the file."""

    path: Path
    series: str
    shape: tuple[int, int]
    frames: int
    position: tuple[float, ...]
    direction: tuple[float, ...]
    step: tuple[float, float]
    thickness: float


def _slice_of(path: Path) -> _Slice | None:
    """None for a file without pixels, such as a DICOMDIR or a report."""
    head = _read(path.read_bytes(), pixels=False)
    if "Rows" not in head:
        return None
    if int(head.get("SamplesPerPixel", 1)) != 1:
        raise VolumeError(f"{path.name!r} holds colours, as of ultrasound: a volume has one number for each voxel")
    shared = head
    if "SharedFunctionalGroupsSequence" in head:
        shared = _flat(head.SharedFunctionalGroupsSequence[0])
    frame = _flat(head.PerFrameFunctionalGroupsSequence[0]) if "PerFrameFunctionalGroupsSequence" in head else {}

    def of(name: str, usual: Any) -> Any:
        for source in (frame, shared, head):
            if source.get(name) not in (None, ""):
                return source.get(name)
        return usual

    step = [float(value) for value in of("PixelSpacing", (1.0, 1.0))]
    return _Slice(
        path,
        str(head.get("SeriesInstanceUID", "")),
        (int(head.Rows), int(head.Columns)),
        int(head.get("NumberOfFrames", 1) or 1),
        tuple(float(v) for v in of("ImagePositionPatient", (0.0, 0.0, float(head.get("InstanceNumber", 0) or 0)))),
        tuple(round(float(v), 4) for v in of("ImageOrientationPatient", (1.0, 0, 0, 0, 1.0, 0))),
        (step[0], step[1]),
        float(of("SpacingBetweenSlices", of("SliceThickness", 1.0)) or 1.0),
    )


def _flat(group: Any) -> dict[str, Any]:
    """The entries of the macros of a functional group."""
    found = {}
    for element in group:
        if element.VR == "SQ" and len(element.value):
            found.update({inner.keyword: inner.value for inner in element.value[0] if inner.VR != "SQ"})
    return found


def _stacked(slices: Sequence[_Slice], where: str) -> tuple[Volume, tuple[str, ...]]:
    row, column = (np.array(slices[0].direction[start : start + 3]) for start in (0, 3))
    normal = np.cross(row, column)
    ordered = sorted(slices, key=lambda one: float(normal @ np.array(one.position)))
    places = np.array([float(normal @ np.array(one.position)) for one in ordered])
    steps = np.diff(places)
    notes = []
    step = ordered[0].thickness
    if len(steps):
        if (np.abs(steps) < 1e-3).any():
            raise VolumeError(
                f"{where} holds several slices at one place, as of a scan over time: give those of one time"
            )
        step = float(np.median(steps))
        wide = int(np.count_nonzero(steps > step * (1 + _GAP)))
        if wide:
            notes.append(
                f"slices are missing at {wide} place{'s' * (wide > 1)} of the series: it is shown without them"
            )
    if sum(one.frames for one in ordered) * ordered[0].shape[0] * ordered[0].shape[1] > MOST_VOXELS:
        raise VolumeError(f"{where} has more voxels than the limit of {MOST_VOXELS}: give fewer slices")
    values, window = [], None
    for one in ordered:
        from pydicom.pixels import apply_modality_lut

        dataset = _read(one.path.read_bytes())
        window = window or window_of(dataset)
        values += [np.asarray(apply_modality_lut(frame, dataset), np.float32) for frame in _frames(dataset)]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * ordered[0].step[1], column * ordered[0].step[0]
    affine[:3, 2], affine[:3, 3] = normal * step, ordered[0].position
    affine[:2] *= -1  # from left and back, as DICOM counts, to right and front
    ends = None if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)
    return Volume(np.stack(values), affine=affine, window=ends, name=nameless(ordered[0].series)), tuple(notes)


def nameless(uid: str) -> str:
    """What results of a scan are called: part of a hash of its UID, from which nobody is found."""
    return f"scan-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def _read(data: bytes, pixels: bool = True) -> Any:
    try:
        import pydicom
    except ImportError:
        raise ImageError(_FOR_READING) from None
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=not pixels)


def _frames(dataset: Any) -> NDArray[Any]:
    """(frames, H, W) or (frames, H, W, 3) RGB."""
    from pydicom.pixels import pixel_array

    array = pixel_array(dataset)
    several = int(dataset.get("NumberOfFrames", 1) or 1) > 1
    return np.asarray(array if several else array[None])


@contextmanager
def _refused(where: str, kind: type[ImageError] | type[VolumeError]) -> Iterator[None]:
    """What reading a file that somebody else has written may raise, in one line that says nothing of its tags."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydicom, about values that are not as the standard says
            yield
    except ImageError as error:
        raise kind(str(error)) from None
    except VolumeError:
        raise
    except OSError as error:
        raise kind(f"{where} cannot be read: {error.strerror or 'it is no DICOM file'}") from None
    except Exception as error:
        said = " ".join(str(error).split())
        plugin = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg" if "plugin" in said.lower() else ""
        plugin = plugin or ("pip install python-gdcm" if "decompress" in said.lower() else "")
        why = f"its pixels are compressed: {plugin}" if plugin else f"it is damaged ({type(error).__name__})"
        raise kind(f"{where} cannot be read as DICOM: {why}") from None
