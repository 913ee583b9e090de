"""`explain`: from a model, an input, a method and a target to an explanation."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .attribution.explanation import Explanation, Explanations, Maps, problems, reduced
from .attribution.problem import Input, Problem
from .errors import CardError, MethodError, ModelError, ShapeError
from .graph.model import Model, Source, load
from .graph.zipmap import with_tensor_scores
from .inference.batches import Runtime
from .methods import Method, make
from .preprocess.card import FIELDS, Card
from .preprocess.find import find_card
from .preprocess.image import pixels_of, prepare
from .targets.target import Target, title

# What `explain` takes besides a method's own options.
CARD_OPTIONS = (*FIELDS, "output", "scores")
RUN_OPTIONS = ("providers", "threads", "batch", "progress")

# A target score below this part of the largest one says that the network does not see the target at all.
TINY = 1e-3


def explain(
    model: Source,
    image: ArrayLike | Mapping[str, ArrayLike],
    method: str | Method = "grad-cam",
    target: Any = None,
    layer: str | Sequence[str] | None = None,
    **options: Any,
) -> Explanation | Any:
    """Why `model` answers as it does for `image`.

    image: uint8 (H, W, 3) RGB or (H, W), which is prepared as the model's card says; or a ready tensor in the model's
        layout, (N, ...) or one sample; or {input name: tensor} for several inputs. Given tensors, everything is in the
        tensor's units and pixels.
    target: None (the predicted class), a class index, a label, a list of them, or a `Target`.
    layer: for methods that work at a layer; by default it is chosen, with the reason in the result.
    options: the method's own; fields of the model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, ...),
        `output` and `scores` to override what is found; `providers`, `threads` and `batch` (most rows of one run);
        `progress`, a function that long methods tell how many of how many runs are done.

    Returns an Explanation; for a batch of several samples, or several targets, Explanations.

    Raises UnknownName (method, option, layer, label), MethodError, TargetError, ShapeError, CardError, ModelError,
    GradientError and its subclasses.
    """
    card = {name: options.pop(name) for name in CARD_OPTIONS if name in options}
    running = {name: options.pop(name) for name in RUN_OPTIONS if name in options}
    chosen = make(method, options)
    problem = problem_of(model, image, target, layer, card=card, runtime=Runtime(**running))
    return solve(problem, chosen)


def problem_of(
    model: Source,
    image: ArrayLike | Mapping[str, ArrayLike],
    target: Any = None,
    layer: str | Sequence[str] | None = None,
    *,
    card: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
) -> Problem:
    """What is to be explained, for one or more methods: pass it to `solve`, and they share what they have in common."""
    model = with_tensor_scores(load(model, **card) if card else load(model))
    layers = (layer,) if isinstance(layer, str) else tuple(layer or ())
    return Problem(model, input_of(model, image), Target.of(target), layers, runtime)


def solve(problem: Problem, method: Method) -> Explanation | Any:
    """The explanation of a problem by a method."""
    if problem.layers and not method.at_layer:
        raise MethodError(f"{method.name} explains at the input and takes no layer: leave it out, or use a CAM method")
    maps = method(problem)
    if len(maps.values) != problem.rows:
        raise ValueError(f"{method.name} gave {len(maps.values)} maps for {problem.rows} rows")
    parts = [_part(problem, method, maps, row) for row in range(problem.rows)]
    return parts[0] if len(parts) == 1 else Explanations(parts)


def input_of(model: Model, image: ArrayLike | Mapping[str, ArrayLike]) -> Input:
    """The input that is explained, its tensor, and what the other inputs are fed."""
    from .inspect.signature import image_input

    if not isinstance(image, Mapping):
        array = np.asarray(image)
        if _is_picture(model, array):
            return _from_picture(model, array)
        if len(model.inputs) != 1:
            wanted = ", ".join(str(v) for v in model.inputs)
            raise ShapeError(f"the model has {len(model.inputs)} inputs ({wanted}): give a dict of name to array")
        image = {model.inputs[0].name: array}
    feeds = {name: np.asarray(array) for name, array in image.items()}
    for name in feeds:
        model.value(name)
    layout = None
    try:
        found = image_input(model)
        name, layout = found.name, found.layout
    except (ModelError, CardError):
        name = _explained(model)
    if name not in feeds:
        raise ShapeError(f"the explained input {name!r} is not among those given ({', '.join(feeds)}): give it too")
    declared = model.value(name)
    x = feeds.pop(name)
    batched = layout is None or "N" in layout
    samples = None if declared.rank is None else declared.rank + (not batched)
    if samples is not None and x.ndim == samples - 1:
        x = x[None]
    if samples is not None and x.ndim != samples:
        raise ShapeError(f"input {declared} was given an array of shape {list(x.shape)}: the number of axes differs")
    if not x.size:
        raise ShapeError(f"input {declared} was given an array of shape {list(x.shape)}: there is no sample in it")
    if declared.dtype is not None and declared.dtype.kind == "f" and x.dtype.kind == "f":
        x = x.astype(declared.dtype, copy=False)
    if layout is None:
        labels = _labels(model)
    else:
        card = _card(model)
        labels = None if card is None else card.labels
    return Input(name, x, feeds, layout, labels=labels)


def _is_picture(model: Model, array: NDArray[Any]) -> bool:
    """Whether an array is an image, not a ready tensor: uint8, with a rank or a type that the input does not have."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        return False
    if array.ndim == 3:
        return True
    declared = model.inputs[0] if model.inputs else None
    return declared is None or declared.rank != 2


def _from_picture(model: Model, array: NDArray[np.uint8]) -> Input:
    card = card_of(model)
    name = card.input or _image_name(model)
    others = [v for v in model.inputs if v.name != name]
    if others:
        wanted = ", ".join(str(v) for v in others)
        raise ShapeError(f"the model also needs {wanted}: prepare the image and give a dict of name to array")
    prepared = prepare(array, card)
    x = prepared.tensor if card.batched else prepared.tensor[None]
    picture = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    return Input(
        name, x, {}, card.layout, (prepared.geometry,), (picture,), card.labels, card.warnings, card.to_mapping()
    )


def _image_name(model: Model) -> str:
    from .inspect.signature import image_input

    return image_input(model).name


_cards: weakref.WeakKeyDictionary[Model, Card] = weakref.WeakKeyDictionary()


def card_of(model: Model) -> Card:
    """The model's card, looked for once: it lies in files, and its labels are many. Raises CardError, ModelError."""
    if model not in _cards:
        _cards[model] = find_card(model)
    return _cards[model]


def _card(model: Model) -> Card | None:
    try:
        return card_of(model)
    except (CardError, ModelError):
        return None  # only asked for labels and for showing a tensor: neither is needed


def _labels(model: Model) -> tuple[str, ...] | None:
    from .preprocess.card import read_labels

    given = model.overrides.get("labels")
    return read_labels(given, "the options given") if given is not None else None


def _explained(model: Model) -> str:
    """The input that is explained where none takes images: the first one of floats, else the first one."""
    floats = [v.name for v in model.inputs if v.dtype is not None and v.dtype.kind == "f"]
    if not model.inputs:
        raise ModelError("the model has no input: there is nothing to explain its answer by")
    return floats[0] if floats else model.inputs[0].name


def _part(problem: Problem, method: Method, maps: Maps, row: int) -> Explanation:
    sample = int(problem.sample[row])
    values = np.ascontiguousarray(maps.values[row], np.float32)
    target, score = problem.targets[row], float(problem.scores[row])
    y = problem.y[sample]
    scores = (
        np.asarray(y, np.float32).reshape(-1) if problem.target.classes is not None else np.array([score], np.float32)
    )
    geometry = None if problem.input.geometries is None else problem.input.geometries[sample]
    warnings = [*problems(values, maps.display), *(maps.warnings[row] if maps.warnings else ())]
    warnings += _about_score(problem, method, score, scores)
    if problem.input.geometries is not None:
        warnings += [f"preprocessing: {text}" for text in problem.input.warnings]
    return Explanation(
        values=values,
        method=method.name,
        options=method.options(),
        target=target,
        score=score,
        scores=scores,
        layer=maps.layer,
        reason=maps.reason,
        warnings=tuple(dict.fromkeys(warnings)),
        details=maps.details[row] if maps.details else {},
        reduce=maps.reduce,
        display=maps.display,
        size=problem.input.plane,
        map=_map(problem, maps, row, values),
        geometry=geometry,
        show=functools.partial(picture, problem.source, problem.input, sample),
        model=problem.source,
        card=problem.input.card,
        label=title(target),
        asked=str(problem.asked),
    )


def _map(problem: Problem, maps: Maps, row: int, values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The map to be shown over the input plane, (h, w); None where there is no plane."""
    if maps.plane is not None:
        return np.ascontiguousarray(maps.plane[row], np.float32)
    if maps.kind == "grid":
        return values if values.ndim == 2 else None
    if problem.input.axes is None:
        return values.reshape(1, -1) if values.ndim == 1 else values if values.ndim == 2 else None
    channel = problem.input.channel
    flat = reduced(values, None if channel is None else channel - 1, maps.reduce)
    return flat if flat.ndim == 2 else None


def picture(model: Model, given: Input, sample: int) -> NDArray[np.uint8] | None:
    """The image under the map: the original, or what the tensor shows; None where the input is no image."""
    if given.images is not None:
        return given.images[sample]
    if given.layout is None:
        return None
    x = given.x[sample]
    card = _card(model)
    if card is not None and not card.warnings:
        try:
            fields = {**card.to_mapping(), "size": given.plane, "layout": given.layout}
            shown = pixels_of(x, Card.from_mapping(fields))
            return np.asarray(shown[0])
        except (ShapeError, CardError):
            pass  # a channel count that no picture has: shown in gray below
    channel = given.channel
    gray = np.asarray(x, np.float32) if channel is None else np.asarray(x, np.float32).mean(axis=channel - 1)
    low, high = float(np.min(gray)), float(np.max(gray))
    scaled = (gray - low) / (high - low) * 255 if high > low else np.full(gray.shape, 128.0)
    return np.repeat(np.rint(np.nan_to_num(scaled)).astype(np.uint8)[..., None], 3, axis=2)


def _about_score(problem: Problem, method: Method, score: float, scores: NDArray[np.float32]) -> list[str]:
    """Warnings about the explained number: not finite, tiny, or a probability that has no slope left."""
    if not np.isfinite(score):
        return ["the score is not a finite number: the model overflows on this input"]
    classes = problem.target.classes
    if classes is None:
        return []
    found = []
    largest = float(np.nanmax(np.abs(scores))) if scores.size else 0.0
    if abs(score) < TINY * largest:
        found.append(
            f"the target's score is tiny ({score:.3g}, the largest is {largest:.3g}): the network does not see it"
        )
    if method.needs == "gradient" and _are_probabilities(problem) and score > 0.999:
        found.append(
            f"the score is a probability of {score:.5f}, whose gradient vanishes: explain logit:{problem.asked}"
        )
    if method.needs == "gradient" and _straight_through(problem.source):
        found.append("the model is quantised: gradients go straight through its rounding, an approximation")
    return found


def _are_probabilities(problem: Problem) -> bool:
    from .inspect.signature import class_output

    classes = problem.target.classes
    if classes is None or classes.scale == "logit":
        return False
    return classes.scale == "prob" or class_output(problem.source).scores == "probabilities"


def _straight_through(model: Model) -> bool:
    """Whether activations are rounded in the graph (QDQ)."""
    return any((domain, "QuantizeLinear") in model.operators for domain in ("", "com.microsoft"))
