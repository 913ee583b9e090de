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
# Share of a step by which a slice may lie off the even steps of an affine before it is said.
_UNEVEN = 0.05
_PALETTE = "PALETTE COLOR"
# What says where a slice lies, and what is taken where it is missing.
_PLACES = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_TAKEN = {
    "ImagePositionPatient": "steps by InstanceNumber",
    "ImageOrientationPatient": "axial slices",
    "PixelSpacing": "pixels of 1 mm",
    "SliceThickness": "slices of 1 mm",
}
# PixelData and the functional groups, which the head of a frame leaves out.
_LARGE = (0x7FE00008, 0x7FE00009, 0x7FE00010, 0x52009229, 0x52009230)
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
    return picture_and_notes(data, where, window)[0]


def picture_and_notes(
    data: bytes, where: str, window: tuple[float, float] | None = None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The same, and what is to be said of it: which of several frames it is."""
    with _refused(where, ImageError):
        dataset = _read(data)
        if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
            raise ImageError(f"{where} has {dataset.Rows} x {dataset.Columns} pixels, more than {MAX_PIXELS}")
        count = _frame_count(dataset)
        notes = (f"the middle frame is read, frame {count // 2 + 1} of {count}",) if count > 1 else ()
        return _picture(dataset, count // 2, window), notes


def _picture(dataset: Any, index: int, window: tuple[float, float] | None) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_color_lut, pixel_array

    frame = np.asarray(pixel_array(dataset, index=index))
    kind = str(dataset.PhotometricInterpretation)
    if kind == _PALETTE:
        colours = np.asarray(apply_color_lut(frame, dataset))[..., :3]
        bits = min(int(dataset.RedPaletteColorLookupTableDescriptor[2]), 8 * colours.itemsize)
        return np.rint(colours * (255 / ((1 << bits) - 1))).astype(np.uint8)
    if frame.ndim == 3:
        scale = 255 / ((1 << int(dataset.BitsStored)) - 1)
        return np.ascontiguousarray(np.rint(frame * scale).astype(np.uint8))
    shown = _looked_at(frame, _of_frame(dataset, index), window)
    if kind == "MONOCHROME1":
        shown = 1 - shown
    return np.repeat(np.rint(shown * 255).astype(np.uint8)[..., None], 3, axis=2)


def pixels_of(data: bytes, where: str) -> int:
    """Rows x columns of a picture, before it is decoded. Raises ImageError."""
    with _refused(where, ImageError):
        head = _read(data, pixels=False)
        return int(head.Rows) * int(head.Columns)


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

    Slices are sorted by their position along the normal of their plane; frames of one file are slices with the rescale,
    window and position of their functional groups (DICOM PS3.3 C.7.6.16). Raises VolumeError for several series, slices
    of several sizes or directions, frames without positions, colours, and files that cannot be read.
    """
    if len(paths) > MOST_SLICES:
        raise VolumeError(f"{where} has {len(paths)} slices, more than the limit of {MOST_SLICES}: give fewer")
    with _refused(where, VolumeError):
        found = [one for path in paths for one in _slices_of(path, where)]
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
    """The head of a frame of a file: `position` (mm, LPS) of the first pixel, `direction` of rows and columns, `step`
    between rows, and columns; `thickness` of a slice; `missing`, the tags of these that are not there."""

    path: Path
    index: int
    series: str
    shape: tuple[int, int]
    position: tuple[float, ...]
    direction: tuple[float, ...]
    step: tuple[float, float]
    thickness: float
    missing: tuple[str, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.direction[:3], self.direction[3:])


def _slices_of(path: Path, where: str) -> list[_Slice]:
    """One for each frame; none for a file without pixels, such as a DICOMDIR or a report."""
    head = _read(path.read_bytes(), pixels=False)
    if "Rows" not in head:
        return []
    if int(head.get("SamplesPerPixel", 1)) != 1 or str(head.get("PhotometricInterpretation", "")) == _PALETTE:
        raise VolumeError(f"{where} holds colours, as of ultrasound: a volume has one number for each voxel")
    count = _frame_count(head)
    if count > 1 and not all(_has_place(head, index) for index in range(count)):
        raise VolumeError(
            f"{where} has frames without places in space (PlanePositionSequence), as of films: give a file for each "
            "slice, or NIfTI"
        )
    return [_slice_of(path, _of_frame(head, index), index) for index in range(count)]


def _slice_of(path: Path, head: Any, index: int) -> _Slice:
    missing = [name for name in _PLACES if head.get(name) in (None, "")]

    def of(name: str, usual: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(value) for value in (usual if name in missing else head.get(name)))

    direction = tuple(round(value, 4) for value in of("ImageOrientationPatient", (1, 0, 0, 0, 1, 0)))
    thick = head.get("SpacingBetweenSlices") or head.get("SliceThickness")
    thickness = abs(float(thick or 1)) or 1.0
    number = float(head.get("InstanceNumber", 0) or 0)
    first, second = of("PixelSpacing", (1, 1))
    return _Slice(
        path,
        index,
        str(head.get("SeriesInstanceUID", "")),
        (int(head.Rows), int(head.Columns)),
        of("ImagePositionPatient", tuple(np.cross(direction[:3], direction[3:]) * number * thickness)),
        direction,
        (first, second),
        thickness,
        (*missing, *(() if thick else ("SliceThickness",))),
    )


def _frame_count(head: Any) -> int:
    return int(head.get("NumberOfFrames", 1) or 1)


def _own(head: Any, index: int) -> Sequence[Any]:
    """The functional groups of one frame, none or one."""
    return list(head.get("PerFrameFunctionalGroupsSequence") or ())[index : index + 1]


def _has_place(head: Any, index: int) -> bool:
    places = (place for group in _own(head, index) for place in group.get("PlanePositionSequence") or ())
    return any(place.get("ImagePositionPatient") for place in places)


def _of_frame(head: Any, index: int) -> Any:
    """The tags of one frame: those of the file, under those of the shared functional groups and of its own."""
    from pydicom.dataset import Dataset

    groups = [*list(head.get("SharedFunctionalGroupsSequence") or ())[:1], *_own(head, index)]
    if not groups:
        return head
    made = Dataset()
    made.update({tag: value for tag, value in head.items() if tag not in _LARGE})
    for group in groups:
        for macro in group:
            if macro.VR == "SQ" and len(macro.value):
                made.update({inner.tag: inner for inner in macro.value[0] if inner.VR != "SQ"})
    return made


def _stacked(slices: Sequence[_Slice], where: str) -> tuple[Volume, tuple[str, ...]]:
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda one: float(normal @ np.array(one.position)))
    if len({"ImagePositionPatient" in one.missing for one in ordered}) > 1:
        raise VolumeError(f"{where} holds slices with and without ImagePositionPatient: give those of one stack")
    column, notes = _between(ordered, where)
    rows, columns = ordered[0].shape
    if len(ordered) * rows * columns > MOST_VOXELS:
        raise VolumeError(f"{where} has more voxels than the limit of {MOST_VOXELS}: give fewer slices")
    values, window = _values_of(ordered)
    affine = np.eye(4)
    affine[:3, 0] = np.array(ordered[0].direction[:3]) * ordered[0].step[1]
    affine[:3, 1] = np.array(ordered[0].direction[3:]) * ordered[0].step[0]
    affine[:3, 2], affine[:3, 3] = column, ordered[0].position
    affine[:2] *= -1  # from left and back, as DICOM counts, to right and front
    ends = None if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)
    made = Volume(values, affine=affine, window=ends, name=nameless(ordered[0].series))
    return made, (*_missing(ordered), *notes)


def _between(ordered: Sequence[_Slice], where: str) -> tuple[NDArray[np.float64], list[str]]:
    """The way from one slice to the next (mm, LPS), which a tilted gantry turns from the normal; what is to be said."""
    positions = np.array([one.position for one in ordered])
    if len(ordered) == 1:
        return ordered[0].normal * ordered[0].thickness, []
    steps = np.diff(positions @ ordered[0].normal)
    if (np.abs(steps) < 1e-3).any():
        raise VolumeError(f"{where} holds several slices at one place, as of a scan over time: give those of one time")
    notes = []
    step = float(np.median(steps))
    wide = int(np.count_nonzero(steps > step * (1 + _GAP)))
    if wide:
        notes.append(f"slices are missing at {wide} place{'s' * (wide > 1)} of the series: it is shown without them")
    column = (positions[-1] - positions[0]) / (len(ordered) - 1)
    even = positions[0] + np.arange(len(ordered))[:, None] * column
    off = float(np.linalg.norm(positions - even, axis=1).max())
    if off > _UNEVEN * step:
        notes.append(f"slices lie up to {off:.3g} mm from even steps: places in mm are wrong by as much")
    return column, notes


def _missing(slices: Sequence[_Slice]) -> list[str]:
    """What is said of tags without which the place in space is not known."""
    names = dict.fromkeys(name for one in slices for name in one.missing)
    needs_thickness = len(slices) == 1 or "ImagePositionPatient" in names
    return [
        f"the file has no {name}, {_TAKEN[name]} are taken: sizes and places in mm are not certain"
        for name in names
        if name != "SliceThickness" or needs_thickness
    ]


def _values_of(ordered: Sequence[_Slice]) -> tuple[NDArray[np.float32], tuple[float, float, str] | None]:
    """(D, H, W) in the units of the rescale, and the first window of the first file; each file is decoded once."""
    from pydicom.pixels import apply_modality_lut

    values = np.empty((len(ordered), *ordered[0].shape), np.float32)
    files: dict[Path, list[int]] = {}
    for place, one in enumerate(ordered):
        files.setdefault(one.path, []).append(place)
    window = None
    for path, places in files.items():
        dataset = _read(path.read_bytes())
        frames = _frames(dataset)
        for place in places:
            head = _of_frame(dataset, ordered[place].index)
            window = window or window_of(head)
            values[place] = apply_modality_lut(frames[ordered[place].index], head)
    return values, window


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
    """(frames, H, W)."""
    from pydicom.pixels import pixel_array

    array = pixel_array(dataset)
    return np.asarray(array if _frame_count(dataset) > 1 else array[None])


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
