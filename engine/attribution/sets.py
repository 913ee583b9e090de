"""Images that are compared, or the texts of a pair, as one input: next to each other, explained together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ..preprocess.geometry import Geometry, in_a_row
from .inputs import Input, input_of, picture, values_at
from .photos import Photos, one_input, prepared_photos


def input_of_set(model: Model, given: Any) -> tuple[Model, Input] | None:
    """The model with the inputs of a set as one, and that input; None where it has no set, or not all were given.

    given: {input name: image, tensor (N, ...) or one sample}. Raises ShapeError for inputs that do not fit each other.
    """
    found = input_set(model)
    if found is None or not isinstance(given, Mapping) or not set(found.names) <= set(given):
        return None
    photos = {name: prepared for name in found.names if (prepared := prepared_photos(model, name, given[name]))}
    ready = {**given, **{name: found.tensor for name, found in photos.items()}}
    singles = [(one := one_input(model, name), _alone(input_of(one, ready), photos)) for name in found.names]
    about = [f"preprocessing: {text}" for found in photos.values() for text in found.card.warnings]
    notes = about if photos else singles[0][1].notes
    arrays = [single.x for _, single in singles]
    _check(found, arrays)
    shapes = tuple(array.shape[1:] for array in arrays)
    made, name = _joined(model, found.names, found.axis, shapes, found.layout)
    whole = set(photos) == set(found.names)
    first = singles[0][1]
    others = {key: array for key, array in first.others.items() if key not in found.names}
    joint = Input(
        name,
        next_to_each_other(arrays, found.axis),
        others,
        found.layout,
        labels=first.labels,
        geometries=_geometries([photos[name] for name in found.names]) if whole else None,
        images=_pictures(singles, photos) if found.layout is not None else None,
        notes=tuple(dict.fromkeys(notes)),
        parts=tuple((name, array.shape[found.axis]) for name, array in zip(found.names, arrays, strict=True)),
        part_axis=found.axis,
        part_shapes=shapes if found.layout is not None and len(set(shapes)) > 1 else (),
        each=tuple(singles),
    )
    return made, joint


def _alone(given: Input, photos: Mapping[str, Photos]) -> Input:
    """One input of a set; that its tensor is ready is no news where it is made of an image."""
    return replace(given, in_set=True, notes=() if given.name in photos else given.notes)


def set_at_embeddings(given: Input, runtime: RunOptions | None) -> tuple[Model, Input] | None:
    """The texts of a set by what their ids stand for, next to each other; None where one has no embeddings."""
    model, first = given.each[0]
    values = [embedding_of(model, name) for name, _ in given.parts]
    named = tuple(value for value in values if value is not None)
    if len(set(named)) < len(given.parts):
        return None
    arrays = values_at(model, first, named, runtime)
    shapes = tuple(arrays[value].shape[1:] for value in named)
    sizes = tuple(arrays[value].shape[given.part_axis] for value in named)
    made, name = _joined(_freed(model, named), named, given.part_axis, shapes, None)
    others = {**first.others, first.name: first.x}
    x = np.concatenate([arrays[value] for value in named], axis=given.part_axis)

    def of_ids(ids: NDArray[Any]) -> NDArray[Any]:
        parts = np.split(ids.astype(first.x.dtype), np.cumsum(sizes)[:-1], given.part_axis)
        rest = {name: part for (name, _), part in zip(given.parts[1:], parts[1:], strict=True)}
        changed = replace(first, x=parts[0], others={**first.others, **rest})
        found = values_at(model, changed, named, runtime)
        return np.concatenate([found[value] for value in named], axis=given.part_axis)

    parts = tuple((name, size) for (name, _), size in zip(given.parts, sizes, strict=True))
    joint = Input(
        name, x, others, labels=given.labels, notes=given.notes, at=True, parts=parts, part_axis=given.part_axis
    )
    return made, replace(joint, reading=given.reading, of_ids=None if given.reading is None else of_ids)


@of_model
def _freed(model: Model, values: tuple[str, ...]) -> Model:
    for value in values:
        model = free(model, value)
    return model


@of_model
def _joined(
    model: Model, names: tuple[str, ...], axis: int, shapes: tuple[tuple[int, ...], ...], layout: str | None
) -> tuple[Model, str]:
    made, name = laid_together(model, names, axis, shapes)
    overrides = {**model.overrides, "input": name} | ({"layout": layout} if layout else {})
    return Model(made.untyped, path=model.path, folder=model.folder, overrides=overrides, inferred=False), name


def _check(found: InputSet, arrays: list[NDArray[Any]]) -> None:
    """Raise ShapeError for arrays that cannot lie next to each other."""
    images = found.layout is not None
    shapes = {a.shape[:1] if images else (*a.shape[: found.axis], *a.shape[found.axis + 1 :]) for a in arrays}
    if len(shapes) > 1:
        listed = ", ".join(f"{name}: {list(a.shape)}" for name, a in zip(found.names, arrays, strict=True))
        raise ShapeError(
            f"{found.reason} are explained together and differ in their shapes ({listed}): give them alike, or "
            "name the one to explain with input="
        )


def next_to_each_other(arrays: Sequence[NDArray[Any]], axis: int, fill: float = 0) -> NDArray[Any]:
    """Arrays along an axis; where they differ in another, the smaller ones are filled up behind."""
    largest = np.max([a.shape for a in arrays], axis=0)
    filled = []
    for array in arrays:
        missing = [(0, 0 if at == axis else int(n) - array.shape[at]) for at, n in enumerate(largest)]
        filled.append(np.pad(array, missing, constant_values=fill) if any(n for _, n in missing) else array)
    return np.concatenate(filled, axis=axis)


def _geometries(photos: Sequence[Photos]) -> tuple[Geometry, ...]:
    """Of every sample, where the pixels of its images lie."""
    return tuple(in_a_row(parts) for parts in zip(*(p.geometries for p in photos), strict=True))


def _pictures(singles: list[tuple[Model, Input]], photos: Mapping[str, Photos]) -> tuple[NDArray[np.uint8], ...] | None:
    """Of every sample, the images next to each other where all are images, else what the model sees."""
    names = [single.name for _, single in singles]
    whole = set(names) == set(photos)
    shown = []
    for sample in range(len(singles[0][1].x)):
        if whole:
            pictures: list[Any] = [photos[name].pictures[sample] for name in names]
        else:
            pictures = [picture(model, single, sample) for model, single in singles]
        if any(p is None for p in pictures):
            return None
        shown.append(next_to_each_other(pictures, 1, 255))
    return tuple(shown)
