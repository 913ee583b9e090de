"""What perturbation methods hide and show as one: superpixels, cells of a grid, single elements, or the user's own.

A sample's elements are divided into atoms: `labels` numbers them over the input plane (H, W), over the places of a
signal or a volume, or over all elements of a sample, with -1 for what is never hidden. A feature covers one atom, or
several where the user's masks overlap; an element is seen as long as all features over it are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..text.given import unit_name
from .inputs import picture
from .maps import GridMaps, InputMaps, Maps
from .place_axes import is_table, numbers_along, place_axes
from .text_baselines import unit_labels

if TYPE_CHECKING:
    from ..preprocess.geometry import Geometry
    from ..text.reading import Reading
    from .inputs import Input
    from .problem import Problem

AUTO, SLIC, GRID, ELEMENTS, CHANGES = "auto", "slic", "grid", "elements", "change-points"
NAMES = (AUTO, SLIC, GRID, ELEMENTS, CHANGES)
# Superpixels of an image where the user names no number.
SUPERPIXELS = 50
GRID_HELP = (
    "Cells along each side for the segments `grid`; 4x8 or [4, 8]: along each axis of an image or a volume, and of a "
    "series along time and features."
)


@dataclass(frozen=True)
class Features:
    """The features of one sample.

    labels: int32, (H, W) over the input plane (`on_plane`), over the axes `along` of a sample that is no image, or over
    all its elements: an atom's number, or -1. covers: bool (F, A), the atoms of each feature; None where feature i is
    atom i. names: what the user's labels called them, in order. kind: what they are, in words.
    """

    labels: NDArray[np.int32]
    covers: NDArray[np.bool_] | None
    names: tuple[int, ...]
    on_plane: bool
    kind: str
    along: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def atoms(self) -> int:
        return len(self.names) if self.covers is None else self.covers.shape[1]

    def seen(self, keep: NDArray[Any]) -> NDArray[Any]:
        """keep (B, F), booleans or shares in 0..1 -> the share (B, A) of every atom: the least of its features'."""
        if self.covers is None:
            return keep
        seen = np.ones((len(keep), self.atoms), keep.dtype)
        for feature, atoms in enumerate(self.covers):
            seen[:, atoms] = np.minimum(seen[:, atoms], keep[:, feature, None])
        return seen

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """values (F,) -> float32 in the shape of `labels`: at every element the sum over the features that cover it."""
        atoms = values if self.covers is None else values @ self.covers
        return np.append(atoms, 0.0).astype(np.float32)[self.labels]

    def in_sample(self, masks: NDArray[Any], rank: int) -> NDArray[Any]:
        """Masks (..., places) over the labels of what is no image, to be broadcast against a sample of `rank` axes."""
        if not self.along:
            return masks
        leading = masks.shape[: masks.ndim - len(self.along)]
        sizes = dict(zip(self.along, self.labels.shape, strict=True))
        return masks.reshape(*leading, *(sizes.get(axis, 1) for axis in range(rank)))

    def maps(self, values: NDArray[np.float32], **about: Any) -> Maps:
        """What a method returns for values (R, ...) in the shape of `labels`."""
        if not self.on_plane and not self.along:
            return InputMaps(values, **{"reduce": "sum", **about})
        return GridMaps(values, plane=values[:, None] if values.ndim == 2 else None, **about)


def idle_segment_options(segments: int | str | NDArray[Any] | None) -> dict[str, str]:
    """Options `grid` and `compactness` that have no effect with these segments -> what they need."""
    named = segments if isinstance(segments, str) else None
    superpixels = named in (AUTO, SLIC) or isinstance(segments, int)
    found = {} if named == GRID else {"grid": "segments='grid'"}
    return found if superpixels else {**found, "compactness": "superpixels (segments='slic' or a number)"}


def features_of(
    problem: Problem,
    segments: int | str | NDArray[Any],
    grid: int | str | Sequence[int | str],
    compactness: float,
) -> list[Features]:
    """The features of every sample of the problem.

    segments: "slic" superpixels, or a number: about that many; "grid": `grid` cells along each axis of places, or one
    number for each; "change-points": stretches of a signal or a series between shifts of its mean; "elements": every
    element of the input; "auto": superpixels on images and volumes, elements on other inputs; or an array. Of integers:
    the number of the segment of every pixel (H, W), on the model's input plane or on the original image; on other
    inputs whatever broadcasts to a sample's shape; with the batch's axis in front, each sample has its own. Elements
    with a negative number are never hidden. Of booleans: masks with one axis more, (F, H, W), that may overlap.
    compactness: of SLIC.

    Raises MethodError.
    """
    given = problem.input
    if isinstance(segments, np.ndarray):
        return _from_array(given, segments)
    if given.reading is not None and segments in (AUTO, ELEMENTS):
        return [features_of_text(given.reading)]
    axes = () if given.plane is not None else place_axes(problem.source, given.name, given.x.shape[1:])
    if segments == AUTO:
        segments = SLIC if given.plane is not None or len(axes) == 3 else ELEMENTS
    if segments == ELEMENTS:
        shape = given.x.shape[1:]
        count = int(np.prod(shape))
        labels = np.arange(count, dtype=np.int32).reshape(shape)
        return [Features(labels, None, tuple(range(count)), False, f"{count} elements of the input")] * len(given.x)
    if segments == GRID:
        return [_grid(given, axes, grid)] * len(given.x)
    if segments == CHANGES:
        return [_stretches(problem, axes, sample) for sample in range(len(given.x))]
    count = SUPERPIXELS if isinstance(segments, str) else segments
    if given.plane is None:
        return [_slic_along(problem, axes, sample, count, compactness) for sample in range(len(given.x))]
    return [_slic(problem, sample, count, compactness) for sample in range(len(given.x))]


def features_of_text(reading: Reading) -> Features:
    """A feature for each word, or what else has a value, of the text that is read."""
    names = reading.seen
    kind = unit_name(reading.given)
    what = f"{len(names)} {kind}{'s' * (len(names) != 1)}"
    return Features(unit_labels(reading), None, names, False, what)


def _grid(given: Input, axes: tuple[int, ...], grid: int | str | Sequence[int | str]) -> Features:
    if given.plane is not None:
        sizes: tuple[int, ...] = given.plane
        cells, along = numbers_along(grid, sizes, (0, 1), "grid")
    else:
        shape = given.x.shape[1:]
        cells, along = numbers_along(grid, shape, axes, "grid")
        sizes = tuple(shape[axis] for axis in along)
    text = " x ".join(map(str, cells))
    if any(number > size for number, size in zip(cells, sizes, strict=True)):
        raise MethodError(
            f"a grid of {text} is finer than the input of {' x '.join(map(str, sizes))}: take a smaller grid"
        )
    each = [(np.arange(size) * 2 + 1) * number // (2 * size) for number, size in zip(cells, sizes, strict=True)]
    labels = _within_parts(given, np.ravel_multi_index(np.meshgrid(*each, indexing="ij"), cells))
    kind = f"a grid of {text}" if len(cells) > 1 else f"{text} stretches"
    return _placed(given, along, labels, kind)


def _within_parts(given: Input, labels: NDArray[Any]) -> NDArray[np.int32]:
    """Labels over the plane, of which none reaches over from one image of a set to the next."""
    if given.plane is not None and given.parts:
        sizes = [size for _, size in given.parts]
        apart = labels * len(sizes) + np.repeat(np.arange(len(sizes)), sizes)
        labels = np.unique(apart, return_inverse=True)[1].reshape(labels.shape)
    return labels.astype(np.int32)


def _placed(given: Input, along: tuple[int, ...], labels: NDArray[np.int32], kind: str) -> Features:
    """Features of labels over the plane of an image, or over the axes `along` of another sample."""
    names = tuple(range(int(labels.max()) + 1))
    if given.plane is not None:
        return Features(labels, None, names, True, kind)
    shape = given.x.shape[1:]
    if len(along) == len(shape):
        return Features(labels, None, names, False, kind)
    if along == tuple(range(along[0], along[0] + len(along))):
        return Features(labels, None, names, False, kind, along)
    wide = labels.reshape([shape[axis] if axis in along else 1 for axis in range(len(shape))])
    return Features(np.ascontiguousarray(np.broadcast_to(wide, shape)), None, names, False, kind)


def _slic_along(problem: Problem, axes: tuple[int, ...], sample: int, count: int, compactness: float) -> Features:
    """SLIC over the places of a signal or a volume; the range of its numbers counts as that of an image's lightness."""
    from skimage.segmentation import slic

    given = problem.input
    x = given.x[sample]
    if not axes or is_table(problem.source, given.name) or x.dtype.kind not in "fiu":
        raise MethodError(
            f"superpixels are parts of an image, a signal or a volume, and {given.name!r} is none: use 'elements', "
            "'grid' with a number for each axis, or an array of labels"
        )
    moved = np.moveaxis(np.nan_to_num(x.astype(np.float64)), axes, range(len(axes)))
    sizes = moved.shape[: len(axes)]
    values = moved.reshape(*(1,) * (2 - len(axes)), *sizes, -1)
    # scikit-image brings numbers to 0..1; the lightness of images runs to 100, which `compactness` is meant for.
    near = compactness / 100
    found = slic(values, n_segments=count, compactness=near, start_label=0, channel_axis=-1, convert2lab=False)
    labels = np.unique(found, return_inverse=True)[1].reshape(sizes).astype(np.int32)
    what = "supervoxels" if len(axes) == 3 else "stretches"
    return _placed(given, axes, labels, f"{int(labels.max()) + 1} {what} (SLIC)")


def _stretches(problem: Problem, axes: tuple[int, ...], sample: int) -> Features:
    """Times between the shifts of the mean of a signal or a series."""
    from ...kernels.change_points import change_points

    given = problem.input
    x = given.x[sample]
    if len(axes) != 1 or is_table(problem.source, given.name) or x.dtype.kind not in "fiu":
        raise MethodError(
            f"change-points are of a signal or a series, and {given.name!r} is none: use 'grid' or 'elements'"
        )
    moved = np.moveaxis(np.nan_to_num(x.astype(np.float64)), axes[0], 0)
    starts = change_points(moved.reshape(len(moved), -1), SUPERPIXELS)
    labels = (np.searchsorted(starts, np.arange(len(moved)), side="right") - 1).astype(np.int32)
    return _placed(given, axes, labels, f"{len(starts)} stretches between shifts of the mean")


def _slic(problem: Problem, sample: int, count: int, compactness: float) -> Features:
    """Superpixels of what the model sees, in CIELAB.

    R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua and S. Süsstrunk, "SLIC Superpixels Compared to State-of-the-Art
    Superpixel Methods", IEEE TPAMI 34(11), 2012; the implementation is scikit-image's.
    """
    from skimage.segmentation import slic

    shown = picture(problem.source, replace(problem.input, images=None), sample)
    if shown is None:
        raise MethodError("superpixels are parts of an image and the input is none: use 'elements', or an array")
    found = slic(shown, n_segments=count, compactness=compactness, start_label=0, channel_axis=-1)
    labels = _within_parts(problem.input, np.unique(found, return_inverse=True)[1].reshape(found.shape))
    total = int(labels.max()) + 1
    return Features(labels, None, tuple(range(total)), True, f"{total} superpixels (SLIC)")


def _from_array(given: Input, array: NDArray[Any]) -> list[Features]:
    if array.dtype.kind not in "iub":
        raise MethodError(f"segments must be whole numbers (labels) or booleans (masks), not {array.dtype}")
    if not array.size:
        raise MethodError(f"segments of shape {list(array.shape)} are empty")
    masks = array.dtype.kind == "b"
    # (F, H, W) may look like (C, H, W): masks are rather one per feature, labels rather one per element.
    for on_plane in (True, False) if masks else (False, True):
        parts = _over_plane(given, array, masks) if on_plane else _over_elements(given, array, masks)
        if parts is not None:
            return [_from_masks(p, on_plane) if masks else _from_labels(p, on_plane) for p in parts]
    shape = given.x.shape[1:]
    wanted = f"those of one sample, {list(shape)}" if given.plane is None else f"{list(given.plane)}, the model's input"
    if given.geometries is not None:
        wanted += f", or {list(given.geometries[0].original)}, the image"
    what = "masks" if masks else "labels"
    raise MethodError(
        f"segments: {what} of shape {list(array.shape)} do not fit the input, the axes must be {wanted}"
        + (" (one more in front: a mask for each feature)" if masks else "")
    )


def _over_elements(given: Input, array: NDArray[Any], masks: bool) -> list[NDArray[Any]] | None:
    """The array over a sample's elements, for every sample; None where it does not fit them."""
    samples, shape = len(given.x), given.x.shape[1:]
    if not masks and array.shape == given.x.shape:
        return list(array)
    if masks and array.ndim <= len(shape):
        array = array[None]
    wanted = (len(array), *shape) if masks else shape
    if given.plane is not None:
        return [array] * samples if array.shape == wanted and len(shape) > 2 else None
    try:
        return [np.broadcast_to(array, wanted)] * samples
    except ValueError:
        return None


def _over_plane(given: Input, array: NDArray[Any], masks: bool) -> list[NDArray[Any]] | None:
    """The array over the input plane, for every sample; None where it fits neither the plane nor the images."""
    if given.plane is None or array.ndim not in (2, 3):
        return None
    samples = len(given.x)
    if masks:
        parts = [array if array.ndim == 3 else array[None]] * samples
    elif array.ndim == 2 or len(array) == samples:
        parts = [array] * samples if array.ndim == 2 else list(array)
    else:
        return None
    size = array.shape[-2:]
    if size == given.plane:
        return parts
    if given.geometries is not None and all(size == tuple(g.original) for g in given.geometries):
        pairs = zip(parts, given.geometries, strict=True)
        return [_seen_by_model(part, geometry, given.plane) for part, geometry in pairs]
    return None


def _seen_by_model(array: NDArray[Any], geometry: Geometry, plane: tuple[int, int]) -> NDArray[Any]:
    """(..., H, W) on the original image -> (..., h, w) on the plane, nearest pixels; padding belongs to no segment."""
    ys, xs = (np.arange(side) + 0.5 for side in plane)
    at = np.floor(geometry.to_original(np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1))).astype(np.int64)
    inside = ((at >= 0) & (at < geometry.original)).all(axis=-1)
    at = np.clip(at, 0, np.subtract(geometry.original, 1))
    found = array[..., at[..., 0], at[..., 1]]
    return found & inside if found.dtype.kind == "b" else np.where(inside, found.astype(np.int64), -1)


def _from_labels(labels: NDArray[Any], on_plane: bool) -> Features:
    values, inverse = np.unique(labels, return_inverse=True)
    never = int((values < 0).sum())
    names = tuple(int(v) for v in values[never:])
    if not names:
        raise MethodError("segments name nothing to hide: all labels are negative")
    found = np.maximum(inverse.reshape(labels.shape) - never, -1).astype(np.int32)
    return Features(found, None, names, on_plane, f"{len(names)} segments given")


def _from_masks(masks: NDArray[np.bool_], on_plane: bool) -> Features:
    """Masks as unions of atoms: elements that are in the same masks are one atom."""
    empty = np.flatnonzero(~masks.reshape(len(masks), -1).any(axis=1))
    if len(empty):
        raise MethodError(f"mask {int(empty[0])} of the segments covers nothing of the model's input: leave it out")
    flat = masks.reshape(len(masks), -1).T
    atoms, inverse = np.unique(np.packbits(flat, axis=1), axis=0, return_inverse=True)
    covers = np.unpackbits(atoms, axis=1, count=len(masks)).astype(bool).T
    free = int(not covers[:, 0].any())  # what no mask covers comes first: all its bits are 0
    labels = (inverse.reshape(masks.shape[1:]) - free).astype(np.int32)
    covers = np.ascontiguousarray(covers[:, free:])
    names = tuple(range(len(masks)))
    return Features(labels, covers, names, on_plane, f"{len(masks)} masks given")
