"""What is explained: from a path, a picture or a tensor to the input of the problem."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..caches import of_model
from ..errors import CardError, MethodError, ModelError, ShapeError
from ..graph.free import free
from ..graph.model import Model
from ..inference.batches import RunOptions, run_batches
from ..inspect.batch_axis import has_batch_axis
from ..inspect.concrete_shapes import concrete_shapes
from ..inspect.receptive_field import spatial_axes
from ..inspect.recurrent_state import state_inputs
from ..inspect.signature import image_input
from ..preprocess.answers import labels_said
from ..preprocess.card import LOAD_OPTIONS, Card
from ..preprocess.depth import shown
from ..preprocess.image import pixels_of, prepare_batch
from ..preprocess.labels import read_labels
from ..proto.values import Value
from .gradient_graphs import exposed_at
from .photos import about_shown, array_of, card_of, card_or_none, photos_of, prepared_photos

if TYPE_CHECKING:
    from ..preprocess.geometry import Geometry
    from ..text.reading import Reading


# What `explain` and `compile` take to say how the input is made and what the output holds.
CARD_OPTIONS = LOAD_OPTIONS


_MOST_BYTES = 4 << 30


def example_input(model: Model, card: Card | None = None) -> Input:
    """Zeros in the place of the input that is explained: to choose layers by, and to try the model on.

    Raises ModelError for a model without inputs, MethodError for one without a batch axis, UnknownName for an input
    that does not exist, CardError for a layout that does not fit.
    """
    if not model.inputs:
        raise ModelError("the model has no input: there is nothing to explain its answer by")
    shapes = concrete_shapes(model)
    name, layout = _explained(model)
    if card is not None:
        if layout is None:
            raise MethodError("the model takes no images: there is nothing to preprocess")
        name, layout = card.input or name, card.layout
    if layout is not None and "N" not in layout:
        raise MethodError(f"the input {model.value(name)} has no batch axis: export the model with one to compile it")
    arrays = {}
    for value in model.inputs:
        shape = shapes.get(value.name)
        if shape is None or value.dtype is None:
            raise ModelError(f"the shape of input {value} is not known: it cannot be compiled")
        if math.prod(shape) * value.dtype.itemsize > _MOST_BYTES:
            raise ModelError(f"the input {value} of {list(shape)} is larger than {_MOST_BYTES >> 30} GiB")
        arrays[value.name] = np.zeros(shape, value.dtype)
    if layout is not None and card is not None:
        size = {"N": arrays[name].shape[0], "H": card.size[0], "W": card.size[1], "C": card.channels}
        arrays[name] = np.zeros([size[a] for a in layout], arrays[name].dtype)
    x = arrays.pop(name)
    card = card or card_or_none(model)
    labels, mapping = (None, None) if card is None else (card.labels, card.to_mapping())
    return Input(name, x, arrays, layout, labels=labels, card=mapping, example=True)


def input_of(model: Model, image: ArrayLike | Mapping[str, ArrayLike], card: Card | None = None) -> Input:
    """The input that is explained, its tensor, and what the other inputs are fed.

    card: the model's card where the caller has it already; else it is looked for. Raises ShapeError, UnknownName,
    CardError, ModelError.
    """
    if not isinstance(image, Mapping):
        photos = photos_of(model, image)
        if photos is not None:
            return _from_pictures(photos, card_of(model) if card is None else card, model)
        needed = [v for v in model.inputs if v.name not in state_inputs(model)]
        if len(needed) != 1:
            wanted = ", ".join(str(v) for v in needed)
            raise ShapeError(f"the model has {len(needed)} inputs ({wanted}): give a dict of name to array")
        image = {needed[0].name: array_of(image)}
    for name in image:
        model.value(name)
    name, layout = _explained(model)
    if name not in image:
        raise ShapeError(f"the explained input {name!r} is not among those given ({', '.join(image)}): give it too")
    photos = photos_of(model, image[name]) if layout is not None else None
    feeds = {key: _fed(model, key, value, name) for key, value in image.items() if key != name or photos is None}
    zeros = _zero_states(model, image)
    feeds |= zeros
    if photos is not None:
        return _from_pictures(photos, card_of(model) if card is None else card, model, feeds)
    declared = model.value(name)
    x = feeds.pop(name)
    batched = has_batch_axis(model, name) if layout is None else "N" in layout
    samples = None if declared.rank is None else declared.rank + (not batched)
    if samples is not None and x.ndim == samples - 1:
        x = x[None]
    if layout is not None:
        _check_is_no_picture(declared, x, layout)
    if samples is not None and x.ndim != samples:
        raise ShapeError(f"input {declared} was given an array of shape {list(x.shape)}: the number of axes differs")
    if not x.size:
        raise ShapeError(f"input {declared} was given an array of shape {list(x.shape)}: there is no sample in it")
    if declared.dtype is not None and declared.dtype.kind == "f" and x.dtype.kind == "f":
        x = x.astype(declared.dtype, copy=False)
    if layout is None:
        labels = _labels(model)
    else:
        card = card or card_or_none(model)
        labels = None if card is None else card.labels
    notes = (f"nothing was given for the states {', '.join(zeros)}: they are zeros",) if zeros else ()
    return Input(name, x, feeds, layout, labels=labels, notes=(*_unused(model, layout), *notes))


def _fed(model: Model, name: str, value: Any, explained: str) -> NDArray[Any]:
    """The tensor of an input: pictures for one that takes images are prepared, if it is not the one explained."""
    prepared = prepared_photos(model, name, value) if name != explained else None
    return array_of(value) if prepared is None else prepared.tensor


def _zero_states(model: Model, given: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Zeros for the states of a recurrent model, or its cache, that nothing is given for."""
    missing = [name for name in state_inputs(model) if name not in given]
    if not missing:
        return {}
    sizes = concrete_shapes(model)
    found = {}
    for name in missing:
        shape, dtype = _of_one_sample(sizes.get(name), model.value(name)), model.value(name).dtype
        if shape is None or dtype is None or math.prod(shape) * dtype.itemsize > _MOST_BYTES:
            raise ShapeError(
                f"the shape of the state {model.value(name)} is not known: give it, zeros at the first step"
            )
        if "past" in name.lower() or "cache" in name.lower():  # nothing has been said yet: open lengths are 0
            sizes_of = zip(shape, model.value(name).shape or (), strict=True)
            shape = tuple(n if i == 0 or isinstance(d, int) else 0 for i, (n, d) in enumerate(sizes_of))
        found[name] = np.zeros(shape, dtype)
    return found


def _of_one_sample(shape: tuple[int, ...] | None, state: Value) -> tuple[int, ...] | None:
    """The shape of a state for one sample: of (layers, ?, units) the open axis is that of samples."""
    declared = state.shape
    if shape is None or declared is None or len(shape) != 3:
        return shape
    layers, samples, units = declared
    bare = isinstance(layers, int) and samples is None and isinstance(units, int)
    return (shape[0], 1, shape[2]) if bare else shape


def input_at(
    model: Model,
    image: ArrayLike | Mapping[str, ArrayLike],
    at: str,
    card: Card | None = None,
    runtime: RunOptions | None = None,
) -> tuple[Model, Input]:
    """The model with the value `at` as its explained input, and that input: what `image` makes of the value.

    Raises what `input_of` and `free` raise.
    """
    freed(model, at)  # raises before anything is run
    return at_value(model, input_of(model, image, card), at, runtime)


def at_value(model: Model, given: Input, at: str, runtime: RunOptions | None = None) -> tuple[Model, Input]:
    """The model with the value `at` as its explained input, and that input: what `given` makes of the value.

    Raises ShapeError for a value that holds no numbers, what `free` raises, ModelError where the model cannot be run.
    """
    layout, source = freed(model, at)
    x = values_at(model, given, [at], runtime)[at]
    if x.dtype.kind not in "fiu":
        raise ShapeError(f"the value {at!r} holds {x.dtype}: only numbers can be explained from")
    others = {**given.others, given.name: given.x}

    def of_ids(ids: NDArray[Any]) -> NDArray[Any]:
        return values_at(model, replace(given, x=ids.astype(given.x.dtype)), [at], runtime)[at]

    made = Input(at, x, others, layout, labels=given.labels, notes=given.notes, at=True)
    return source, replace(made, reading=given.reading, of_ids=None if given.reading is None else of_ids)


@of_model
def freed(model: Model, at: str) -> tuple[str | None, Model]:
    """The layout of the value `at`, None where it is no map of an image, and the model with it as its input."""
    layout = _layout_of(model, at)
    overrides = {key: value for key, value in model.overrides.items() if key not in ("input", "layout", "kind", "axes")}
    overrides |= {"input": at} | ({"layout": layout} if layout else {})
    return layout, Model(
        free(model, at).untyped, path=model.path, folder=model.folder, overrides=overrides, inferred=False
    )


def values_at(
    model: Model, given: Input, names: Sequence[str], runtime: RunOptions | None = None
) -> dict[str, NDArray[Any]]:
    """Values (N, ...) of a model for an input, in batches."""
    alike, shared = given.split_others(model)
    wanted = list(dict.fromkeys(names))
    rows = {given.name: given.x, **alike}
    return run_batches(exposed_at(model, tuple(wanted)), rows, wanted, shared=shared, runtime=runtime)


def _layout_of(model: Model, name: str) -> str | None:
    """The layout of a value that is a map of the image."""
    try:
        image = image_input(model)
    except (ModelError, CardError):
        return None
    axes = spatial_axes(model, image.name, image.axes).get(name)
    rank = model.value(name).rank
    if axes is None or rank != 4:
        return None
    return "NCHW" if axes == (2, 3) else "NHWC" if axes == (1, 2) else None


def _check_is_no_picture(declared: Value, x: NDArray[Any], layout: str) -> None:
    """Raise ShapeError for pixels that would be taken for a tensor, with what to do about them."""
    floats = declared.dtype is not None and declared.dtype.kind == "f"
    if floats and x.dtype.kind in "iu":
        raise ShapeError(
            f"input {declared} was given {x.dtype} values of shape {list(x.shape)}: give photos as uint8 (H, W, 3), "
            "one, a list or (N, H, W, 3), which are prepared as the card says, or a prepared tensor of "
            f"{declared.dtype}"
        )
    wanted = layout if "N" in layout else "N" + layout
    channel = wanted.find("C")
    last = x.shape[-1] if x.ndim == 4 else 0
    channels = declared.shape[channel - ("N" not in layout)] if declared.shape and channel > 0 else None
    if channel == 1 and last in (1, 3, 4) and isinstance(channels, int) and x.shape[1] != channels:
        raise ShapeError(
            f"input {declared} was given {x.dtype} values of shape {list(x.shape)}, channels last: a photo is given as "
            "uint8 (H, W, 3) of 0..255, which is prepared as the card says (if yours is of 0..1: (255 * image).astype("
            f"np.uint8)); a prepared tensor is {layout}"
        )


# Card fields that have no meaning once a tensor is made: how it is made, but for what turns it into pixels again.
_PREPARING = (
    *("size", "resize", "shortest_edge", "stretch_to", "crop_fraction", "rounding", "interpolation", "antialias"),
    *("pad_value", "align", "dtype", "bits"),
)
_SHOWING = ("mean", "std", "order", "window", "bands", "display")


def _unused(model: Model, layout: str | None) -> tuple[str, ...]:
    """What to say of options that prepare images where a ready tensor was given."""
    idle = [name for name in (*_PREPARING, *(_SHOWING if layout is None else ())) if name in model.overrides]
    if not idle:
        return ()
    why = "the input is not an image" if layout is None else "a ready tensor was given"
    return (f"{why}: the options {', '.join(idle)} prepare images and have no effect",)


def _from_pictures(
    photos: Sequence[NDArray[Any]], card: Card, model: Model, others: Mapping[str, NDArray[Any]] | None = None
) -> Input:
    name = card.input or _image_name(model)
    others = {key: array for key, array in (others or {}).items() if key != name}
    missing = [v for v in model.inputs if v.name != name and v.name not in others]
    if missing:
        wanted = ", ".join(str(v) for v in missing)
        raise ShapeError(f"the model also needs {wanted}: give a dict of input name to array, the image in it as it is")
    if len(photos) > 1 and not card.batched:
        raise ShapeError(f"the model's input ({card.layout}) has no batch axis: explain one image at a time")
    x, geometries = prepare_batch(photos, card)
    pictures = tuple(p if _is_displayed(p, card) else shown(p, card) for p in photos)
    made = (card.layout, geometries, pictures, card.labels, card.warnings, card.to_mapping())
    return Input(name, x if card.batched else x[None], others, *made, notes=about_shown(photos, card))


def _image_name(model: Model) -> str:
    return image_input(model).name


def read_labels_of(model: Model) -> tuple[str, ...] | None:
    """The labels of a model, from its card where it takes images, else from its options and files. Raises CardError."""
    card = card_or_none(model)
    return _labels(model) if card is None else card.labels


def _labels(model: Model) -> tuple[str, ...] | None:
    given = model.overrides.get("labels")
    return read_labels(given, "the options given") if given is not None else labels_said(model)


def explained_input(model: Model) -> str:
    """The name of the input that is explained. Raises UnknownName, ModelError, CardError."""
    return _explained(model)[0]


def _explained(model: Model) -> tuple[str, str | None]:
    """The input that is explained, and its layout where it takes images.

    It is the one that the option `input` names, else the one that takes images, else the first one of floats, else the
    first one. Raises UnknownName, ModelError, CardError (a layout given that does not fit).
    """
    if not model.inputs:
        raise ModelError("the model has no input: there is nothing to explain its answer by")
    given = model.overrides.get("input")
    try:
        found = image_input(model)
    except (ModelError, CardError):
        if "layout" in model.overrides:
            raise
    else:
        return found.name, found.layout
    if given is not None:
        return str(given), None
    states = state_inputs(model)
    floats = [v.name for v in model.inputs if v.dtype is not None and v.dtype.kind == "f" and v.name not in states]
    return floats[0] if floats else model.inputs[0].name, None


def _is_displayed(picture: NDArray[Any], card: Card) -> bool:
    """Whether a picture is looked at as it is: a region of a large photo is copied only when it is asked for."""
    return picture.dtype == np.uint8 and picture.shape[2:] == (3,) and not card.has_bands


def underneath(model: Model, given: Input, sample: int) -> Callable[[], NDArray[np.uint8] | None]:
    """What gives the picture under a map: of an image only that, so that the batch's tensors are not kept with it."""
    if given.images is None:
        return functools.partial(picture, model, given, sample)
    return functools.partial(_itself, given.images[sample])


def _itself(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image)


def picture(model: Model, given: Input, sample: int) -> NDArray[np.uint8] | None:
    """The image under the map: the original, or what the tensor shows; None where the input is no image."""
    if given.images is not None:
        return _itself(given.images[sample])
    if given.layout is None:
        return None
    x = given.x[sample]
    card = card_or_none(model)
    given_by_user = not {"mean", "std", "order", "display"}.isdisjoint(model.overrides)
    if card is not None and (given_by_user or not card.warnings):
        try:
            fields = {**card.to_mapping(), "size": given.plane, "layout": given.layout}
            return np.asarray(pixels_of(x, Card.from_mapping(fields))[0])
        except (ShapeError, CardError):
            pass  # a channel count that no picture has: shown in gray below
    channel = given.channel
    gray = np.asarray(x, np.float32) if channel is None else np.asarray(x, np.float32).mean(axis=channel - 1)
    gray = np.where(np.isfinite(gray), gray, np.nan)
    low, high = (float(f(gray)) if np.isfinite(gray).any() else 0.0 for f in (np.nanmin, np.nanmax))
    scaled = (gray - low) / (high - low) * 255 if high > low else np.full(gray.shape, 128.0)
    return np.repeat(np.rint(np.nan_to_num(scaled)).astype(np.uint8)[..., None], 3, axis=2)


@dataclass(frozen=True)
class Input:
    """What is explained: `x` (N, ...) for the model's input `name`, and what the other inputs are fed.

    `layout` and `geometries` are known where it is an image: the tensor's axes ("NCHW", ...), and where each sample's
    pixels lie on the original image. `images` are the originals, uint8 (H, W, 3) RGB. `warnings` are the card's;
    `notes` say what else to know about the input. `at`: it is no input of the model but a value inside.
    `columns`: the inputs that its columns are, where the model takes them one by one; `neutral` (columns,), what stands
    for nothing in each, where that is not 0. `parts`: inputs that lie next to each other along `part_axis` of `x`, and
    their sizes there; `part_shapes`: of one sample of each, where images differ in them, which then lie at the top and
    are filled up with zeros; `each`: the same inputs one by one, with their model; `in_set`: it is one of these.
    `reading`: the text that it is, and `of_ids` what makes of other token ids (1, ...) what `x` is made of the text's.
    """

    name: str
    x: NDArray[Any]
    others: Mapping[str, NDArray[Any]]
    layout: str | None = None
    geometries: tuple[Geometry, ...] | None = None
    images: tuple[NDArray[np.uint8], ...] | None = None
    labels: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    at: bool = False
    reading: Reading | None = None
    of_ids: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    columns: tuple[str, ...] = ()
    neutral: NDArray[Any] | None = None
    example: bool = False
    parts: tuple[tuple[str, int], ...] = ()
    part_axis: int = 0
    part_shapes: tuple[tuple[int, ...], ...] = ()
    each: tuple[tuple[Model, Input], ...] = ()
    in_set: bool = False

    def by_sample(self, model: Model, name: str) -> bool:
        """Whether another input has a row for every sample."""
        array = self.others[name]
        declared = model.value(name).shape
        fixed = declared is not None and declared and declared[0] == 1 and len(self.x) == 1
        explained = model.value(self.name).shape
        dynamic = explained is None or not explained or not isinstance(explained[0], int)
        return bool(array.ndim and array.shape[0] == len(self.x) and not (fixed and dynamic))

    def split_others(self, model: Model) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """The other inputs that have a row for every sample, and those that are the same for all."""
        alike = {name: array for name, array in self.others.items() if self.by_sample(model, name)}
        return alike, {name: array for name, array in self.others.items() if name not in alike}

    @property
    def named(self) -> str:
        """The inputs that are explained, in words."""
        return " and ".join(repr(name) for name, _ in self.parts) or repr(self.name)

    @property
    def axes(self) -> tuple[int, int] | None:
        """The axes of height and width in `x`, None where it is no image."""
        if self.layout is None:
            return None
        layout = self.layout if "N" in self.layout else "N" + self.layout
        return layout.index("H"), layout.index("W")

    @property
    def channel(self) -> int | None:
        """The channel axis of `x`, None where it has none."""
        if self.layout is None or "C" not in self.layout:
            return None
        return (self.layout if "N" in self.layout else "N" + self.layout).index("C")

    @property
    def planar(self) -> tuple[int, int, int, int] | None:
        """The shape of one sample as the kernels see it: what is before the rows, rows, columns, what is behind."""
        if self.axes is None:
            return None
        shape, (y, x) = self.x.shape, self.axes
        return math.prod(shape[1:y]), shape[y], shape[x], math.prod(shape[x + 1 :])

    @property
    def plane(self) -> tuple[int, int] | None:
        return None if self.axes is None else (self.x.shape[self.axes[0]], self.x.shape[self.axes[1]])
