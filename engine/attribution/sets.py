"""Images that are compared, or the texts of a pair, as one input: next to each other, explained together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..errors import ShapeError
from ..graph.free import free
from ..graph.joined import laid_together
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inspect.embedding import embedding_of
from ..inspect.input_sets import InputSet, input_set
from .inputs import Input, input_of, picture, values_at
from .photos import one_input, prepared_photos


def input_of_set(model: Model, given: Any) -> tuple[Model, Input] | None:
    """The model with the inputs of a set as one, and that input; None where it has no set, or not all were given.

    given: {input name: image, tensor (N, ...) or one sample}. Raises ShapeError for inputs that do not fit each other.
    """
    found = input_set(model)
    if found is None or not isinstance(given, Mapping) or not set(found.names) <= set(given):
        return None
    photos = {name: prepared for name in found.names if (prepared := prepared_photos(model, name, given[name]))}
    ready = {**given, **{name: tensor for name, (tensor, _) in photos.items()}}
    singles = [(one := one_input(model, name), replace(input_of(one, ready), in_set=True)) for name in found.names]
    about = [f"preprocessing: {text}" for _, card in photos.values() for text in card.warnings]
    notes = about if photos else singles[0][1].notes
    arrays = [single.x for _, single in singles]
    _check(found, arrays)
    sizes = tuple(array.shape[found.axis] for array in arrays)
    made, name = _joined(model, found.names, found.axis, sizes, found.layout)
    first = singles[0][1]
    others = {key: array for key, array in first.others.items() if key not in found.names}
    joint = Input(
        name,
        np.concatenate(arrays, axis=found.axis),
        others,
        found.layout,
        labels=first.labels,
        images=_pictures(singles) if found.layout is not None else None,
        notes=tuple(dict.fromkeys(notes)),
        parts=tuple(zip(found.names, sizes, strict=True)),
        part_axis=found.axis,
        each=tuple(singles),
    )
    return made, joint


def set_at_embeddings(given: Input, runtime: RunOptions | None) -> tuple[Model, Input] | None:
    """The texts of a set by what their ids stand for, next to each other; None where one has no embeddings."""
    model, first = given.each[0]
    values = [embedding_of(model, name) for name, _ in given.parts]
    named = tuple(value for value in values if value is not None)
    if len(set(named)) < len(given.parts):
        return None
    arrays = values_at(model, first, named, runtime)
    sizes = tuple(arrays[value].shape[given.part_axis] for value in named)
    made, name = _joined(_freed(model, named), named, given.part_axis, sizes, None)
    others = {**first.others, first.name: first.x}
    x = np.concatenate([arrays[value] for value in named], axis=given.part_axis)
    parts = tuple((name, size) for (name, _), size in zip(given.parts, sizes, strict=True))
    return made, Input(
        name, x, others, labels=given.labels, notes=given.notes, at=True, parts=parts, part_axis=given.part_axis
    )


@of_model
def _freed(model: Model, values: tuple[str, ...]) -> Model:
    for value in values:
        model = free(model, value)
    return model


@of_model
def _joined(
    model: Model, names: tuple[str, ...], axis: int, sizes: tuple[int, ...], layout: str | None
) -> tuple[Model, str]:
    made, name = laid_together(model, names, axis, sizes)
    overrides = {**model.overrides, "input": name} | ({"layout": layout} if layout else {})
    return Model(made.untyped, path=model.path, folder=model.folder, overrides=overrides, inferred=False), name


def _check(found: InputSet, arrays: list[NDArray[Any]]) -> None:
    """Raise ShapeError for arrays that cannot lie next to each other."""
    shapes = {(*a.shape[: found.axis], *a.shape[found.axis + 1 :]) for a in arrays}
    if len(shapes) > 1:
        listed = ", ".join(f"{name}: {list(a.shape)}" for name, a in zip(found.names, arrays, strict=True))
        raise ShapeError(
            f"{found.reason} are explained together and differ in their shapes ({listed}): give them alike, or "
            "name the one to explain with input="
        )


def _pictures(singles: list[tuple[Model, Input]]) -> tuple[NDArray[np.uint8], ...] | None:
    """Of every sample, what the model sees, next to each other."""
    shown = []
    for sample in range(len(singles[0][1].x)):
        pictures = [picture(model, single, sample) for model, single in singles]
        if any(p is None for p in pictures):
            return None
        shown.append(np.concatenate([p for p in pictures if p is not None], axis=1))
    return tuple(shown)
