"""`health`: what the units of a model do on a data set, and how far other versions of it have moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..kernels.wide_sums import add, no_wide_sums
from .errors import ShapeError, UnknownName
from .graph.model import Model, Source
from .graph.narrow import identity
from .inference.batches import RunOptions
from .inspect.layers import Layer
from .load import load
from .preprocess.card import LOAD_OPTIONS
from .survey.health import Health, ModelHealth, merge_healths
from .survey.measure import Measure, run
from .survey.pictures import Picture, pictures_of


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
        if name not in LOAD_OPTIONS:
            raise UnknownName("option of health", name, ("against", "batch", "providers", "threads", *LOAD_OPTIONS))
    several = against if isinstance(against, (list, tuple)) else [against]
    models = [load(source, **card) for source in (model, *several)]
    wanted = [layers] if isinstance(layers, (str, Layer)) else None if layers is None else list(layers)
    runtime = RunOptions(providers=providers, threads=threads, batch=batch)
    measures = [Measure(each, wanted, runtime) for each in models]
    survey = HealthSurvey(models, measures)
    for _ in survey.run(pictures_of(images)):
        if progress is not None:
            progress(survey.count)
    if not survey.count:
        raise ShapeError("there is no image: give at least one")
    return survey.result()


class HealthSurvey:
    """A running measurement of models: `run` over images, `result` at any time.

    checkpoints: how many of the last models are earlier states of the first. start: a result to go on from, of whole
    groups of images. Raises MethodError where that is of other models or layers.
    """

    def __init__(
        self,
        models: Sequence[Model],
        measures: Sequence[Measure],
        checkpoints: int = 0,
        start: Health | None = None,
    ) -> None:
        self._models, self._measures, self._checkpoints = models, measures, checkpoints
        self._start = start
        self._hsic = no_wide_sums(sum(len(measure.layers) for measure in measures) ** 2)
        self._count = 0
        if start is not None:
            self.result()

    @property
    def count(self) -> int:
        """How many images were measured, those of `start` among them."""
        return self._count + (0 if self._start is None else self._start.count)

    def run(self, pictures: Iterable[Picture | None]) -> Iterator[int]:
        """Measure images, None being one that cannot be read; yields, group by group, how many there were in it."""
        for given, read, hsic in run(self._measures, pictures):
            self._count += read
            if hsic is not None:
                add(self._hsic, hsic.ravel())
            yield given

    def result(self) -> Health:
        """What was found so far."""
        parts = [
            ModelHealth(
                model.path.name if model.path else "model",
                identity(measure.model),
                {found.layer.name: found for found in measure.results()},
            )
            for model, measure in zip(self._models, self._measures, strict=True)
        ]
        found = Health(tuple(parts), self._count, self._hsic, self._checkpoints)
        return found if self._start is None else merge_healths(self._start, found)
