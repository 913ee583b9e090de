"""`predict`: from images to the classes, or the numbers, that a model answers with."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .attribution.generation import text_model
from .attribution.inputs import CARD_OPTIONS, Input, input_of, values_at
from .attribution.photos import card_or_none, photos_of
from .attribution.plain import percent
from .attribution.texts import is_text, read_given, with_reading
from .detection.detections import Detections, found_in
from .detection.emit import LABELS, SCORES, SIDES
from .detection.table import Table, table_of
from .errors import ModelError, ShapeError, UnknownName
from .graph.model import Model, Source
from .graph.zipmap import with_tensor_scores
from .inference.batches import RunOptions
from .inspect.answer import Answer
from .inspect.finite import why_not_finite
from .load import load
from .preprocess.answers import predictable
from .preprocess.depth import assumed
from .preprocess.find import find_detector
from .targets.classify import Guess, best
from .targets.reading import Reading, readings, recognised_output

_RUN_OPTIONS = ("providers", "threads", "batch")


@dataclass(frozen=True)
class Prediction:
    """What a model answers for one image.

    top: the most probable classes, best first; empty where the model answers with numbers or a text. numbers: these,
    float64, None for classes. probabilities: how they were made, "softmax of output 'logits'". source: the image's
    file. reading: the text that a recogniser reads, None for other models.
    """

    top: tuple[Guess, ...]
    numbers: NDArray[np.float64] | None = None
    probabilities: str = ""
    source: str | None = None
    reading: Reading | None = None

    @property
    def text(self) -> str | None:
        """What a recogniser of text reads, None for other models."""
        return self.reading.text if self.reading else None

    @property
    def label(self) -> str | None:
        """The name of the most probable class, None where it has none."""
        return self.top[0].label if self.top else None

    @property
    def index(self) -> int | None:
        """The number of the most probable class, None where the model answers with numbers."""
        return self.top[0].index if self.top else None

    @property
    def probability(self) -> float | None:
        """Of the most probable class, of a text the mean over its characters; None for numbers and an empty text."""
        if self.reading is not None:
            return float(np.mean(self.reading.probabilities)) if self.reading.characters else None
        return self.top[0].probability if self.top else None

    def __repr__(self) -> str:
        if self.reading is not None:
            sure = "" if self.probability is None else f" {percent(self.probability)}"
            return f"<{self.reading.text!r}{sure}>"
        if self.numbers is not None:
            return f"<{', '.join(f'{n:.4g}' for n in self.numbers)}>"
        return f"<{', '.join(f'{_name(guess)} {percent(guess.probability)}' for guess in self.top)}>"

    def _repr_html_(self) -> str:
        """A table of the classes, for notebooks."""
        if self.numbers is not None or self.reading is not None:
            return f"<p>{html.escape(repr(self)[1:-1])}</p>"
        rows = "".join(
            f"<tr><td>{html.escape(_name(g))}</td><td>{percent(g.probability)}</td><td>{g.score:.4g}</td></tr>"
            for g in self.top
        )
        caption = f"<caption>{html.escape(self.source)}</caption>" if self.source else ""
        return f"<table>{caption}<tr><th>class</th><th>probability</th><th>score</th></tr>{rows}</table>"


def _name(guess: Guess) -> str:
    return guess.label or f"class {guess.index}"


def predict(model: Source, images: ArrayLike | Mapping[str, ArrayLike], top: int = 5, **options: Any) -> Any:
    """The answer of `model` for images.

    images: uint8 (H, W, 3) RGB, several in a list or (N, H, W, 3), or a ready tensor, as `explain` takes them. top: how
    many classes. options: fields of the model card; `providers`, `threads`, `batch`.

    A uint16 picture with values under 4096 of which the card says neither `bits` nor `window` is read as 12 bits, with
    a warning; `explain` refuses it.

    Of a recogniser of text (CTC) whose characters are known, `Prediction.text` is the text of the best path.

    Returns a Prediction of one image, a list of them for a list or a batch. Raises UnknownName, ModelError (the answer
    is neither classes, numbers nor a text, or not finite), ShapeError, CardError.
    """
    known = (*CARD_OPTIONS, *_RUN_OPTIONS)
    for name in options:
        if name not in known:
            raise UnknownName("option of predict", name, ("top", *known))
    if top < 1:
        raise ShapeError(f"top={top} asks for no class: give at least 1")
    runtime = RunOptions(**{name: options.pop(name) for name in _RUN_OPTIONS if name in options})
    ready = with_tensor_scores(load(model, **options))
    if recognised_output(ready) is not None:
        read = texts_of(ready, input_of(ready, _deep(ready, images)), runtime)
        return read if isinstance(images, (list, tuple)) or len(read) > 1 else read[0]
    answer = predictable(ready)
    if is_text(ready, images):
        texts = images if isinstance(images, list | tuple) else [images]
        rows = [_of_text(ready, answer, text, top, runtime) for text in texts]
        return rows if isinstance(images, list | tuple) else rows[0]
    given = input_of(ready, _deep(ready, images))
    values = values_at(ready, given, [answer.value], runtime)[answer.value]
    found = _of(answer, values, given.labels, top, lambda: why_not_finite(ready))
    several = isinstance(images, (list, tuple)) or len(found) > 1
    return found if several else found[0]


def texts_of(model: Model, given: Input, runtime: RunOptions | None = None) -> list[Prediction]:
    """What a recogniser reads in every sample of an input. Raises ModelError, ShapeError."""
    output = recognised_output(model)
    if output is None:
        raise ModelError("the model is no recogniser of text whose characters are known: give labels=")
    values = values_at(model, given, [output], runtime)[output]
    if not np.isfinite(values).all():
        raise ModelError(f"the scores of the characters are NaN or infinite: {why_not_finite(model)}")
    return [
        Prediction((), probabilities=f"best path of output {output!r}", reading=reading)
        for reading in readings(model, output, values, given.labels)
    ]


def _of_text(model: Model, answer: Answer, text: Any, top: int, runtime: RunOptions) -> Prediction:
    """The answer for one text. Raises TextError."""
    read = read_given(model, text, runtime)
    assert read is not None
    model = text_model(model)
    given = with_reading(model, input_of(model, read[1]), read[0])
    values = values_at(model, given, [answer.value], runtime)[answer.value]
    return _of(answer, values, given.labels, top, lambda: why_not_finite(model))[0]


def _deep(model: Model, images: Any) -> Any:
    """Pictures of 12 bits in 16, of which the card says nothing, as pictures of 16 bits; a warning says so."""
    photos = None if isinstance(images, Mapping) else photos_of(model, images)
    card = card_or_none(model) if photos else None
    if photos is None or card is None:
        return images
    read = [assumed(photo, card) for photo in photos]
    notes = dict.fromkeys(note for _, note in read if note is not None)
    if not notes:
        return images
    for note in notes:
        warnings.warn(note, stacklevel=3)
    several = isinstance(images, (list, tuple)) or np.ndim(images) == 4
    return [photo for photo, _ in read] if several else read[0][0]


def detect(model: Source, images: ArrayLike | Mapping[str, ArrayLike], **options: Any) -> Any:
    """The boxes that a detector finds in images.

    images: as `predict` takes them. options: fields of the model card, `detector={"threshold": 0.4, "nms": 0.5}` among
    them, which also overrides what is found out of the model (see docs/detection.md); `providers`, `threads`, `batch`.

    Where the candidates stand in the graph, what their numbers mean and whether the graph suppresses overlapping boxes
    itself is found out by rules; `Detections.reason` says what and why. Boxes lie in pixels of the original image, of
    the tensor where a tensor was given.

    Returns Detections of one image, a list of them for a list or a batch. Raises UnknownName, ModelError (no rule finds
    candidates, or the boxes are not decoded), ShapeError, CardError.
    """
    known = (*CARD_OPTIONS, *_RUN_OPTIONS)
    for name in options:
        if name not in known:
            raise UnknownName("option of detect", name, known)
    runtime = RunOptions(**{name: options.pop(name) for name in _RUN_OPTIONS if name in options})
    ready = load(model, **options)
    given = input_of(ready, images)
    found = boxes_of(ready, table_of(ready, given.plane), given, runtime)
    several = isinstance(images, (list, tuple)) or len(found) > 1
    return found if several else found[0]


def boxes_of(model: Model, table: Table, given: Input, runtime: RunOptions | None = None) -> list[Detections]:
    """The boxes of every sample of an input, by the table of a model. Raises ShapeError, ModelError."""
    names = [SCORES, SIDES, *([LABELS] if table.has_labels else []), *table.shapes]
    values = values_at(table.model, given, names, runtime)
    hints = find_detector(model)
    return [
        found_in(
            table,
            values,
            sample,
            geometry=None if given.geometries is None else given.geometries[sample],
            names=given.labels,
            score=hints.get("threshold"),
            overlap=hints.get("nms"),
        )
        for sample in range(len(given.x))
    ]


def _of(
    answer: Answer, values: NDArray[Any], labels: tuple[str, ...] | None, top: int, why: Callable[[], str]
) -> list[Prediction]:
    if answer.kind == "number":
        return [Prediction((), numbers=row) for row in answer.rows(values)]
    return [Prediction(tuple(row), probabilities=answer.shown_as) for row in best(values, answer, labels, top, why=why)]
