"""Which classes a unit speaks for: the gradient of their scores by the unit, mean over its strongest images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .plan import SiteLayer, class_value
from .survey import BEST, Survey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....engine.graph.model import Model
    from ....engine.inference.batches import RunOptions

# Images and classes that are looked at, at most: of more classes, the most probable of the images. Classes named.
_IMAGES, _CLASSES, _NAMED = 48, 12, 5


def classes_of_units(
    model: Model, survey: Survey, layers: Sequence[SiteLayer], runtime: RunOptions
) -> dict[str, dict[int, list[list[float]]]]:
    """Layer -> unit -> [class, gradient], strongest first; nothing where the model has no classes or no gradient."""
    from ....engine.errors import OnnxrayError

    try:
        return _found(model, survey, layers, runtime)
    except OnnxrayError:
        return {}


def _found(
    model: Model, survey: Survey, layers: Sequence[SiteLayer], runtime: RunOptions
) -> dict[str, dict[int, list[list[float]]]]:
    import numpy as np

    from ....engine.autodiff.vjp import vjp
    from ....engine.inference.session import Session
    from ....engine.inspect.concrete_shapes import concrete_shapes
    from ....engine.optimize.build import logits_of
    from ....engine.preprocess.find import find_card
    from ....engine.preprocess.image import prepare
    from ....engine.survey.scan import sized
    from ....engine.targets.units import unit_axes

    logits = class_value(model)
    assert survey.top is not None
    before = [layer for layer in layers if not layer.classes and layer.name in survey.top.layers]
    if logits is None or not before:
        return {}
    model = sized(model)[0]
    card, shape = find_card(model), concrete_shapes(model).get(logits)
    _, axis, two_sided = logits_of(model)
    if shape is None or two_sided or len(shape) < 2:
        return {}
    values = {layer.name: layer.entry.last.output for layer in before}
    graph = vjp(model, logits, list(values.values()))
    session = Session(graph, providers=runtime.providers, threads=runtime.threads)
    seed = next(name for name in session.inputs if name.startswith("cotangent/"))
    gradients = dict(zip(values, [v.name for v in graph.outputs][-len(values) :], strict=True))
    channels = {name: unit_axes(model, name)[1] for name in values}
    images = _most_named(survey, before)
    classes = _classes(model, survey, images, runtime, shape[axis])
    sums: dict[str, dict[int, NDArray[np.float64]]] = {name: {} for name in values}
    for key in images:
        tensor = prepare(survey.pixels(survey.top.images[key].name), card).tensor
        rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in values}
        for index in classes:
            cotangent = np.zeros((1, *shape[1:]), np.float32)
            cotangent[(0,) + (slice(None),) * (axis - 1) + (index,)] = 1 / max(1, np.prod(shape[1:]) / shape[axis])
            got = session.run({str(card.input): tensor, seed: cotangent}, list(gradients.values()))
            for name, output in gradients.items():
                array = got[output].astype(np.float64)
                rest = tuple(a for a in range(array.ndim) if a != channels[name])
                rows[name].append(array.sum(axis=rest))
        for name in values:
            sums[name][key] = np.stack(rows[name])
    return {layer.name: _named(survey, layer, sums[layer.name], classes) for layer in before}


def _most_named(survey: Survey, layers: Sequence[SiteLayer]) -> list[int]:
    """The images that are among the strongest of most units."""
    import numpy as np

    assert survey.top is not None
    ids = np.concatenate([survey.top.layers[layer.name].strongest.ids.ravel() for layer in layers])
    found, counts = np.unique(ids[ids >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_IMAGES]
    return [int(found[place]) for place in order]


def _classes(model: Model, survey: Survey, images: Sequence[int], runtime: RunOptions, count: int) -> list[int]:
    """All classes where they are few, else the most probable ones of the images."""
    from ....engine.predict import predict

    if count <= _CLASSES:
        return list(range(count))
    assert survey.top is not None
    found: dict[int, int] = {}
    for key in images:
        answer = predict(
            model, survey.pixels(survey.top.images[key].name), 1, providers=runtime.providers, threads=runtime.threads
        )
        index = answer.index or 0
        found[index] = found.get(index, 0) + 1
    return sorted(sorted(found, key=lambda index: (-found[index], index))[:_CLASSES])


def _named(
    survey: Survey, layer: SiteLayer, gradients: dict[int, NDArray[np.float64]], classes: Sequence[int]
) -> dict[int, list[list[float]]]:
    import numpy as np

    assert survey.top is not None
    found: dict[int, list[list[float]]] = {}
    ids = survey.top.layers[layer.name].strongest.ids
    for unit in layer.units:
        rows: list[Any] = [gradients[int(i)][:, unit] for i in ids[unit][:BEST] if int(i) in gradients]
        if not rows:
            continue
        mean = np.mean(rows, axis=0)
        order = np.argsort(-np.abs(mean), kind="stable")[:_NAMED]
        found[unit] = [[classes[place], float(mean[place])] for place in order if mean[place]]
    return found
