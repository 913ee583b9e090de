"""`top`: the images of a data set that excite the units of a model most, and least, in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .errors import MethodError, ShapeError, UnknownName
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .inspect.layers import Layer
from .load import load
from .preprocess.answers import answer_of
from .preprocess.card import OPTION_FIELDS
from .survey.pictures import Picture
from .survey.scan import Scan, ScanOptions
from .survey.top import Top

AUTO = "auto"


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

    images: an iterable, read once: `Picture`s (name, uint8 (H, W, 3) pixels, label), pairs of a name and pixels, or
        pixels alone, which are named by their number.
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
        if name not in OPTION_FIELDS:
            raise UnknownName("option of top", name, ("labels", "before", "sample", "batch", *OPTION_FIELDS))
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


def pictures_of(images: Iterable[Any]) -> Iterator[Picture]:
    """What a user gives as `Picture`s. Raises ShapeError for something that is no image."""
    for number, item in enumerate(images):
        if isinstance(item, Picture):
            yield item
        elif isinstance(item, np.ndarray):
            yield Picture(str(number), item)
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], np.ndarray):
            yield Picture(str(item[0]), item[1])
        else:
            raise ShapeError(
                f"image {number} is a {type(item).__name__}: give uint8 (H, W, 3) arrays, pairs of a name and an "
                "array, or Pictures"
            )
