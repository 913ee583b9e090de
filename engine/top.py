"""`top`: the images of a data set that excite the units of a model most, and least, in one pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..kernels.boxes import smallest_box
from .attribution.colours import around_gray
from .errors import MethodError, ShapeError, UnknownName
from .explain import explain
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .inspect.layers import Layer
from .load import load
from .preprocess.answers import answer_of
from .preprocess.card import LOAD_OPTIONS
from .preprocess.depth import shown
from .preprocess.geometry import Geometry, place
from .preprocess.image import prepare
from .survey.pictures import pictures_of
from .survey.scan import Feed, Scan, ScanOptions, sized
from .survey.top import Example, Top
from .survey.units import Box, UnitLayer, unit_layers
from .targets.target import Target

AUTO = "auto"
Field = Literal["exact", "effective"]
# Methods that project a unit back to the image, and the share of the gradient that an effective field holds.
PROJECTIONS = ("guided-backprop", "deconvnet")
EFFECTIVE = 0.95


def top(
    model: Source,
    images: Iterable[Any],
    layers: str | Layer | Iterable[str | Layer] | None = None,
    k: int = 9,
    *,
    labels: str = AUTO,
    before: bool = True,
    sample: int = 1024,
    batch: int | None = None,
    providers: Any = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    **card: Any,
) -> Top:
    """Find the k images that excite each unit of some layers most, and least, in one pass over any number of them.

    A unit is a channel of a map, a feature of tokens, a number of a dense layer, or the score of a class; its value for
    an image is the highest over all places (lowest, for the weakest). Images of the same content count once among the
    strongest; equal values are ordered by content, so that the result depends neither on the order of the images nor on
    how they are cut into parts (see `merge_tops` in `onnxray.engine.survey.top`).

    images: an iterable, read once: `Picture`s (name, pixels, label), pairs of a name and pixels, or pixels alone, which
        are named by their number; pixels are uint8 (H, W, 3) RGB or (H, W), or what else the model's card reads.
    layers: names of layers, modules or values, or `Layer`s; "classes", the default, for the scores of the classes.
    k: how many images per unit.
    labels: what the selectivity of units is about: "given", the labels of the pictures; "predicted", the classes that
        the model finds most probable; "none"; "auto": given where the first picture has a label, else predicted where
        the model has classes.
    before: read units before their activation function, where values differ that it makes equal (0, or the 6 of a
        ReLU6); False: as the layer's name says.
    sample: how many images, chosen at random by their content, are kept for quantiles.
    batch, providers, threads: how the model runs. progress: called with how many images are done.
    card: fields of the model card, as `load` takes them.

    Returns a `Top`: `strongest(layer, unit)`, `weakest`, `quantiles`, `selectivity(layer)`, `mean`, `save(dir)`.

    Raises ShapeError (no image, or something that is none), UnknownName (layer), TargetError (a layer without units),
    MethodError (options), CardError, ModelError.
    """
    for name in card:
        if name not in LOAD_OPTIONS:
            raise UnknownName("option of top", name, ("labels", "before", "sample", "batch", *LOAD_OPTIONS))
    opened = load(model, **card)
    several = [layers] if isinstance(layers, (str, Layer)) else None if layers is None else list(layers)
    pictures = pictures_of(images)
    first = next(pictures, None)
    if first is None:
        raise ShapeError("there is no image: give at least one")
    options = ScanOptions(k, sample, before, labels_for(opened, labels, first.label is not None))  # type: ignore[arg-type]
    scan = Scan(opened, several, options, RunOptions(providers=providers, threads=threads, batch=batch))
    for done in scan.run(itertools.chain([first], pictures)):
        if progress is not None:
            progress(done)
    if options.labels == "given" and not scan.class_counts:
        raise MethodError("labels='given', but the images have none: put them in folders named as their classes")
    return scan.result()


def labels_for(model: Model, labels: str, given: bool) -> str:
    """What "auto" means. given: whether images have labels."""
    if labels != AUTO:
        return labels
    return "given" if given else "predicted" if answer_of(model).has_classes else "none"


@dataclass(frozen=True)
class Look:
    """A unit and an image, closely.

    Attributes: `example`, its box the one that was asked for; `crop`, uint8 (h, w, 3), that part of the image; `heat`,
    float32 (h, w), the unit's values over the crop, NaN where the model does not see it, None for units of one place;
    `projections`, uint8 (h, w, 3) by method, what in the crop excites the unit, around gray.
    """

    example: Example
    crop: NDArray[np.uint8]
    heat: NDArray[np.float32] | None = None
    projections: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


class Looks:
    """Looks at units of a model with images: crops, heat, projections.

    before: as for `top`. Raises what `unit_layers` raises; CardError, ModelError.
    """

    def __init__(
        self, model: Source, layers: Any = None, *, before: bool = True, runtime: RunOptions | None = None
    ) -> None:
        self.model, self.card = sized(load(model))
        self.runtime = replace(runtime or RunOptions(), batch=1)
        found = unit_layers(self.model, layers, before=before, plane=self.card.size)
        self.layers: dict[str, UnitLayer] = {layer.name: layer for layer in found}
        self._feeds: dict[str, Feed] = {}

    def look(
        self,
        layer: str,
        unit: int,
        example: Example,
        pixels: NDArray[Any],
        *,
        field: Field = "exact",
        project: Sequence[str] = (),
    ) -> Look:
        """The unit of `layer` and the image of `example`, whose `pixels` are as `top` takes them.

        field: "exact", all that the unit can see at the example's place; "effective", the smallest box that holds 95 %
        of the magnitude of its gradient there (W. Luo et al., "Understanding the Effective Receptive Field in Deep
        Convolutional Neural Networks", 2016). project: methods, "guided-backprop" and "deconvnet".

        Raises UnknownName (layer, method), MethodError, GradientError and its subclasses.
        """
        if layer not in self.layers:
            raise UnknownName("layer that is looked at", layer, list(self.layers))
        for name in project:
            if name not in PROJECTIONS:
                raise UnknownName("projection", name, PROJECTIONS)
        where, geometry = self.layers[layer], place(self.card, (pixels.shape[0], pixels.shape[1]))
        target = self._target(where, unit, example)
        if field == "effective":
            example = replace(example, box=self._effective(target, pixels, geometry) or example.box)
        elif field != "exact":
            raise UnknownName("field", str(field), ("exact", "effective"))
        rows, columns = pixel_slices(example.box, (pixels.shape[0], pixels.shape[1]))
        picture = shown(pixels, self.card)
        heat = None if where.places < 2 or len(where.grid) != 2 else self._heat(where, unit, pixels, geometry)
        return Look(
            example,
            np.ascontiguousarray(picture[rows, columns]),
            None if heat is None else np.ascontiguousarray(heat[rows, columns]),
            {name: self._projected(name, target, pixels, geometry)[rows, columns] for name in project},
        )

    def _target(self, layer: UnitLayer, unit: int, example: Example) -> Target:
        value = layer.read[0] if len(layer.read) == 1 else layer.value
        return Target.unit(value, unit, self._at(layer, example))

    def _at(self, layer: UnitLayer, example: Example) -> tuple[int, ...] | None:
        """The place along the value's own axes."""
        if not layer.axes:
            return None
        if layer.order is None:
            return example.place
        number = int(np.ravel_multi_index(example.place, layer.grid))
        shape = self.model.value(layer.value).shape or ()
        sizes = [shape[a] for a in layer.axes]
        if len(sizes) == 1:
            return (int(layer.order[number]),)
        return tuple(int(i) for i in np.unravel_index(int(layer.order[number]), sizes))  # type: ignore[arg-type]

    def _heat(self, layer: UnitLayer, unit: int, pixels: NDArray[Any], geometry: Geometry) -> NDArray[np.float32]:
        if layer.name not in self._feeds:
            self._feeds[layer.name] = Feed(self.model, self.card, layer.read, self.runtime)
        values = self._feeds[layer.name].values([prepare(pixels, self.card).tensor])
        return geometry.to_image(layer.maps(values)[0, unit].reshape(layer.grid), fill=math.nan)

    def _effective(self, target: Target, pixels: NDArray[Any], geometry: Geometry) -> Box | None:
        """None where nothing changes the unit."""
        found = smallest_box(np.abs(self._planes("gradient", target, pixels)).sum(axis=0), EFFECTIVE)
        if found is None:
            return None
        (y0, x0), (y1, x1) = (geometry.to_original(corner) for corner in (found[:2], found[2:]))
        top, left, bottom, right = geometry.box
        ys, xs = np.clip([y0, y1], top, bottom), np.clip([x0, x1], left, right)
        return float(ys[0]), float(xs[0]), float(ys[1]), float(xs[1])

    def _projected(self, method: str, target: Target, pixels: NDArray[Any], geometry: Geometry) -> NDArray[np.uint8]:
        planes = self._planes(method, target, pixels)
        if self.card.has_bands:
            planes = planes[[self.card.channel_of(band) for band in self.card.shown_bands]]
        elif len(planes) == 3 and self.card.order == "BGR":
            planes = planes[::-1]
        planes = planes if len(planes) == 3 else np.repeat(planes[:1], 3, axis=0)
        some = np.abs(planes[planes != 0])
        return around_gray(geometry.to_image(planes), float(np.percentile(some, 99.5)) if some.size else 1.0)

    def _planes(self, method: str, target: Target, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """(C, h, w) over the model's plane."""
        runtime: dict[str, Any] = {"providers": self.runtime.providers, "threads": self.runtime.threads}
        values = explain(self.model, pixels, method, target, **runtime).values
        return np.asarray(values.reshape(-1, *values.shape[-2:]), np.float32)


def pixel_slices(box: Box, size: tuple[int, int]) -> tuple[slice, slice]:
    """The pixels of an image of (H, W) that a box touches, one at least."""
    found = []
    for low, high, length in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        first = min(max(0, math.floor(low + 1e-6)), length - 1)
        found.append(slice(first, max(first + 1, min(length, math.ceil(high - 1e-6)))))
    return found[0], found[1]
