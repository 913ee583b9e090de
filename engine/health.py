"""`health`: what the units of a model do on a data set, and how far other versions of it have moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .errors import ShapeError, UnknownName
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .inspect.layers import Layer
from .load import load
from .preprocess.card import OPTION_FIELDS
from .survey.health import Health, ModelHealth
from .survey.measure import Measure, run
from .survey.pictures import pictures_of


def health(
    model: Source,
    images: Iterable[Any],
    layers: str | Layer | Iterable[str | Layer] | None = None,
    *,
    against: Source | Iterable[Source] = (),
    batch: int | None = None,
    providers: Any = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    **card: Any,
) -> Health:
    """Measure the units of a model on a data set: dead, always on, saturated, duplicates; ranks and similarities.

    images: as `onnxray.top` takes them.
    layers: names of layers, modules or values, or `Layer`s; default: activation functions, products that have none
        behind them, and the scores of the classes.
    against: other versions of the model, such as checkpoints, a quantised or pruned one; each is measured on the same
        images, prepared as its own card says, and its layers are compared with the model's (linear CKA, S. Kornblith et
        al., 2019, estimated without bias over groups of 32 images).
    batch, providers, threads: how the models run. progress: called with how many images are done.
    card: fields of the model card, as `load` takes them, for all models.

    Returns a `Health`: `findings()`, `layer(name)` with its statistics, `similarity()`, `drift()`, `save(dir)`.

    Raises ShapeError (no image, or something that is none), UnknownName (layer), TargetError (a layer without units),
    MethodError (no layer that can be measured), CardError, ModelError.
    """
    for name in card:
        if name not in OPTION_FIELDS:
            raise UnknownName("option of health", name, ("against", "batch", "providers", "threads", *OPTION_FIELDS))
    several = against if isinstance(against, (list, tuple)) else [against]
    models = [load(source, **card) for source in (model, *several)]
    wanted = [layers] if isinstance(layers, (str, Layer)) else None if layers is None else list(layers)
    runtime = RunOptions(providers=providers, threads=threads, batch=batch)
    measures = [Measure(each, wanted, runtime) for each in models]
    return measured(models, measures, images, progress)


def measured(
    models: list[Model], measures: list[Measure], images: Iterable[Any], progress: Callable[[int], None] | None = None
) -> Health:
    """The health of models on images. Raises ShapeError where there is no image."""
    layers = sum(len(measure.layers) for measure in measures)
    hsic, count = np.zeros((layers, layers)), 0
    for count, part in run(measures, pictures_of(images)):
        if part is not None:
            hsic += part
        if progress is not None:
            progress(count)
    if not count:
        raise ShapeError("there is no image: give at least one")
    parts = [
        ModelHealth(
            each.path.name if each.path else "model",
            str(measure.model.sha256),
            {found.layer.name: found for found in measure.results()},
        )
        for each, measure in zip(models, measures, strict=True)
    ]
    return Health(tuple(parts), count, hsic)
