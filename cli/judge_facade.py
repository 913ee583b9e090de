"""What of the public Python interface judges explanations, of files as well as of arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from ..engine.attribution.photos import card_or_none
from ..engine.choose import Choice
from ..engine.choose import choose as _choose
from ..engine.errors import MethodError
from ..engine.evaluate.results import Evaluation
from ..engine.evaluate.trust import Trust
from ..engine.evaluation import evaluate as _evaluate
from ..engine.graph.model import Source
from ..engine.inspect.layers import Layer
from ..engine.methods.registry import Method
from ..engine.survey.pictures import Picture
from ..engine.trust import trust as _trust
from .files.given import given_of, loaded
from .files.masks import with_objects
from .files.surveyed import surveyed


def evaluate(
    model: Source,
    images: Any,
    methods: Sequence[str | Method | type[Method]] | str | None = None,
    metrics: Any = None,
    *,
    masks: Any = None,
    target: Any = None,
    **options: Any,
) -> Evaluation:
    """Judge the maps of explanation methods on a model's answers to images by metrics, each as its paper defines it.

    images: as `onnxray.top` takes them. masks: a folder of masks (MVTec-AD's layout), of Pascal VOC's XML, a file of
    COCO's JSON, where classes are named these are explained; or arrays, see `onnxray.engine.evaluation.evaluate`, which
    lists all options and metrics. Raises ImageError for a file that cannot be read, and what that function raises.
    """
    ready, rest = loaded(model, options)
    pictures, masks = _with_masks(surveyed(images, card_or_none(ready)), masks)
    return _evaluate(ready, pictures, methods, metrics, masks=masks, target=target, **rest)


def choose(
    model: Source, images: Any, *, seconds: float = 60.0, masks: Any = None, target: Any = None, **options: Any
) -> Choice:
    """Rank the methods that fit a model within a time budget of `seconds`: the short version of `evaluate`.

    images: as `onnxray.top` takes them. masks: as `evaluate` takes them. See `onnxray.engine.choose.choose`, which
    lists all options. Raises ImageError for a file that cannot be read, and what that function raises.
    """
    ready, rest = loaded(model, options)
    pictures, masks = _with_masks(surveyed(images, card_or_none(ready)), masks)
    return _choose(ready, pictures, seconds=seconds, masks=masks, target=target, **rest)


def _with_masks(pictures: Iterable[Picture], masks: Any) -> tuple[Iterable[Picture], Any]:
    """The images and their masks, read where they are files. Raises ImageError."""
    if isinstance(masks, str | os.PathLike):
        return with_objects(pictures, os.fspath(masks))
    return pictures, masks


def trust(
    model: Source,
    image: Any,
    method: str | Method | type[Method] | None = None,
    target: Any = None,
    layer: str | Layer | Sequence[str | Layer] | None = None,
    *,
    against: Source | None = None,
    **options: Any,
) -> Trust:
    """Check whether one map can be trusted: a traffic light with words, and a line for each check.

    model, image, method, target, layer, options: one image, which may be a file, and one target, as `explain` takes
    them. against: another version of the model, such as a quantised one, whose answer, map and layers are compared with
    this one's. See `onnxray.engine.trust.trust`, which says what is checked. Raises MethodError (no image, several
    targets), ImageError for a file that cannot be read, and what `explain` raises.
    """
    ready, given, rest = given_of(model, image, options)
    if given.listed:
        raise MethodError("trust is about one map: give one image, not a list")
    return _trust(ready, given.value, method, target, layer, against=against, **rest)
