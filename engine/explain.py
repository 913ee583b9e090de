"""`explain`: from a model, an input, a method and a target to an explanation."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .attribution.box_layers import is_of_box
from .attribution.columns import input_of_columns
from .attribution.explanation import Explanation
from .attribution.explanations import Explanations, with_warning
from .attribution.generation import text_model
from .attribution.inputs import CARD_OPTIONS, Input, input_at, input_of, underneath
from .attribution.maps import Maps, problems
from .attribution.problem import Problem
from .attribution.saturation import saturated
from .attribution.series import tensor_of
from .attribution.sets import input_of_set
from .attribution.sounds import answer, is_sound, question_of
from .attribution.tables import background_of_table, input_of_table
from .attribution.texts import is_text, read_given, with_reading
from .attribution.together import together
from .attribution.volumes import input_of_volume, is_volume
from .errors import MethodError, NoSum, SoundError
from .graph.model import Model, Source
from .graph.zipmap import with_tensor_scores
from .inference.batches import RunOptions
from .inspect.concrete_shapes import spatial_input
from .inspect.layers import Layer, layer_names
from .load import load
from .methods.registry import Method, find, make, options_of
from .preprocess.answers import answer_of
from .preprocess.card import Card
from .proto.operators import MICROSOFT
from .series.given import Series
from .tables.given import Table
from .targets.classify import class_probabilities
from .targets.resolved import ClassTarget, FixedTarget
from .targets.target import Target
from .text.roles import roles_of

# What `explain` takes besides a method's own options.
RUN_OPTIONS = ("providers", "threads", "batch", "progress")

# Methods that hide one thing at a time: the inputs of a set are explained one by one, as at a layer.
ONE_BY_ONE = ("occlusion",)

# What warnings about the card begin with.
PREPROCESSING = "preprocessing: "

# A target score below this part of the largest one says that the network does not see the target at all.
TINY = 1e-3


# Where no method is named; of a box, gradients averaged over the plane would light whatever looks like it elsewhere.
USUAL_METHOD, BOX_METHOD = "grad-cam", "hires-cam"
# Of texts; of models that take these as strings, which have no gradient, the second.
TEXT_METHOD, STRING_METHOD = "integrated-gradients", "kernel-shap"
# Of tables, and of those whose scores are no sums.
SERIES_METHOD = "integrated-gradients"
TABLE_METHODS = ("tree-shap", "kernel-shap")
SOUND_METHOD = "integrated-gradients"


def explain(
    model: Source,
    image: ArrayLike | Mapping[str, ArrayLike] | Table | Series,
    method: str | Method | type[Method] | None = None,
    target: Any = None,
    layer: str | Layer | Sequence[str | Layer] | None = None,
    at: str | None = None,
    **options: Any,
) -> Explanation | Explanations:
    """Why `model` answers as it does for `image`.

    image: uint8 (H, W, 3) RGB or (H, W), which is prepared as the model's card says, RGBA over white; several in a list
        or (N, H, W, 3); or a ready tensor in the model's layout, (N, ...) or one sample; or {input name: tensor or
        image} for several inputs, of which one is explained: the option `input` names it, else it is the one that
        takes images, else the first one of floats; columns of a table, (N, 1) each, images of one size that are
        compared, and the token ids of several texts are explained together unless `input` or `layer` is given, and
        `parts` has the values of each; or a `Table` or a `Series`. Given tensors, everything is in the
        tensor's units and pixels.
    target: None (the predicted class), a class index, a label, or a `Target`; or a list of them: one for each sample of
        a batch, several for one sample alone (`Target.several` for all of every sample).
    layer: for methods that work at a layer; by default it is chosen, with the reason in the result.
    at: a value inside the model to explain by in place of its input: embeddings of token ids, a spectrogram that the
        model computes. It takes the value that `image` gives it; everything that does not go through it stays.
    options: the method's own; fields of the model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, ...),
        `output` and `scores` to override what is found; `providers` (a name, "cuda", or a list of names and of pairs
        (name, {option: value})), `threads` and `batch` (most rows of one run); `progress`, a function that long methods
        call with how many of how many runs are done.

    Returns an Explanation; for a batch of several samples, or several targets, Explanations.

    Raises UnknownName (method, option, layer, label), MethodError, TargetError, ShapeError, CardError, ModelError,
    GradientError and its subclasses.
    """
    fields = {name: options.pop(name) for name in CARD_OPTIONS if name in options}
    running = {name: options.pop(name) for name in RUN_OPTIONS if name in options}
    known = ("method", "target", "layer", "at", *CARD_OPTIONS, *RUN_OPTIONS)
    ready = load(model, **fields)
    if is_text(ready, image):
        method = method or usual_method_of_texts(ready)
        texts = list(image) if isinstance(image, list | tuple) else [image]
        chosen = for_text(make(method, options, known), options)
        runtime = RunOptions(**running)
        found = [solve(problem_of(ready, t, target, layer, runtime=runtime, at=at), chosen) for t in texts]
        return found[0] if not isinstance(image, list | tuple) else Explanations([e for part in found for e in part])
    if isinstance(image, Series):
        chosen = for_series(make(method or SERIES_METHOD, options, known), options)
        return solve(problem_of(ready, image, target, layer, runtime=RunOptions(**running), at=at), chosen)
    if isinstance(image, Table):
        return _of_table(ready, image, method, options, known, (target, layer, at), RunOptions(**running))
    if is_volume(image):
        made = input_of_volume(ready, image)
        chosen = make(method or USUAL_METHOD, options, known)
        found_in = solve(problem_of(ready, made.feeds, target, layer, runtime=RunOptions(**running), at=at), chosen)
        return found_in if at is not None else made.shown(found_in)
    if is_sound(image):
        chosen = for_sound(make(method or SOUND_METHOD, options, known), options)
        return _of_sounds(ready, image, chosen, target, layer, at, RunOptions(**running))
    chosen = make(method or USUAL_METHOD, options, known)
    problem = problem_of(ready, image, target, layer, runtime=RunOptions(**running), at=at)
    if method is None and is_of_box(problem):
        chosen = make(BOX_METHOD, options, known)
    return solve(problem, chosen)


def _of_table(
    model: Model,
    table: Table,
    method: str | Method | type[Method] | None,
    options: Mapping[str, Any],
    known: Sequence[str],
    asked: tuple[Any, Any, str | None],
    runtime: RunOptions,
) -> Explanation | Explanations:
    """The rows of a table, by tree-shap where no method is named and their score is a sum, else by kernel-shap."""
    target, layer, at = asked
    problem = problem_of(model, table, target, layer, runtime=runtime, at=at)
    if method is not None:
        return solve(problem, for_table(make(method, options, known), options, model, table))
    return solve_table(problem, model, table, options, known)


def solve_table(
    problem: Problem, model: Model, table: Table, options: Mapping[str, Any], known: Sequence[str] = ()
) -> Explanation | Explanations:
    """The rows by tree-shap, or by kernel-shap where their score is no sum, which its warnings give the reason of."""
    reason = ""
    if set(options) <= {o.name for o in options_of(find(TABLE_METHODS[0]))}:
        try:
            return solve(problem, for_table(make(TABLE_METHODS[0], options, known), options, model, table))
        except NoSum as error:
            reason = f"{TABLE_METHODS[1]} in place of {str(error).partition(': use')[0]}"
    found = solve(problem, for_table(make(TABLE_METHODS[1], options, known), options, model, table))
    return with_warning(found, reason) if reason else found


def for_table(method: Method, named: Collection[str], model: Model, table: Table) -> Method:
    """The method for a table: what its columns are compared with is the table's background unless the options `named`
    say otherwise. Raises MethodError where there is none."""
    known = {f.name for f in dataclasses.fields(method)}
    if "background" not in known or {"baseline", "background", "fill"} & set(named):
        return method
    rows = background_of_table(with_tensor_scores(model), table)
    if rows is None and method.name in TABLE_METHODS:
        raise MethodError(
            f"{method.name} compares a row with others, and the table has no more: give rows of the data as background"
        )
    return method if rows is None else dataclasses.replace(method, background=rows)  # type: ignore[call-arg]


def _of_sounds(
    model: Model,
    given: Any,
    method: Method,
    target: Any,
    layer: str | Layer | Sequence[str | Layer] | None,
    at: str | None,
    runtime: RunOptions,
) -> Explanation | Explanations:
    """The explanation of a sound, or of several in a list."""
    if at is not None:
        raise SoundError("a sound is explained in time and frequency by itself: leave at= out, or give arrays")
    sounds = list(given) if isinstance(given, list | tuple) else [given]
    parts = [answer(question_of(model, s, target, layer_names(layer), runtime), method, solve) for s in sounds]
    return Explanations([e for part in parts for e in part]) if isinstance(given, list | tuple) else parts[0]


def usual_method_of_texts(model: Model) -> str:
    """The method that explains texts where none is named."""
    roles = roles_of(model)
    return STRING_METHOD if roles is not None and roles.strings else TEXT_METHOD


def for_text(method: Method, named: Collection[str]) -> Method:
    """The method for a text: what its words are compared with is padding unless the options `named` say otherwise."""
    known = {f.name for f in dataclasses.fields(method)}
    free = "baseline" in known and not {"baseline", "background"} & set(named)
    return dataclasses.replace(method, baseline="pad") if free else method  # type: ignore[call-arg]


def for_series(method: Method, named: Collection[str]) -> Method:
    """The method for a series: what is hidden is the mean over time unless the options `named` say otherwise."""
    known = {f.name for f in dataclasses.fields(method)}
    own = [name for name in ("fill", "baseline") if name in known]
    free = own and not {"fill", "baseline", "background"} & set(named)
    return dataclasses.replace(method, **{own[0]: "mean"}) if free else method


def for_sound(method: Method, named: Collection[str]) -> Method:
    """The method for a sound: what is hidden is silence unless the options `named` say otherwise."""
    free = "fill" in {f.name for f in dataclasses.fields(method)} and "fill" not in named
    return dataclasses.replace(method, fill="zero") if free else method  # type: ignore[call-arg]


def problem_of(
    model: Source,
    image: ArrayLike | Mapping[str, ArrayLike] | Table | Series,
    target: Any = None,
    layer: str | Layer | Sequence[str | Layer] | None = None,
    *,
    card: Card | None = None,
    runtime: RunOptions | None = None,
    at: str | None = None,
) -> Problem:
    """What is to be explained, for one or more methods: pass it to `solve`, and they share what they have in common.

    card: the model's card where the caller has it already; else it is looked for where it is needed.
    """
    model = with_tensor_scores(load(model))
    read = read_given(model, image, runtime)
    reading, image = (None, image) if read is None else read
    if reading is not None:
        model = text_model(model)
    if isinstance(image, Series):
        image = tensor_of(model, image)[0]
    if isinstance(image, Table):
        if at is not None:
            raise MethodError("a table is explained by its columns: leave at= out, or give arrays")
        model, given = input_of_table(model, image)
    elif at is not None:
        model, given = input_at(model, image, at, card, runtime)
    elif (columns := input_of_columns(model, image)) is not None:
        model, given = columns
    elif not layer and (joint := input_of_set(model, image)) is not None:
        model, given = joint
    else:
        given = input_of(model, image, card)
    if reading is not None:
        given = with_reading(model, given, reading)
    return Problem(model, given, _asked(target, given), layer_names(layer), runtime)


def _asked(target: Any, given: Input) -> Target:
    """A list is one target for each sample, of one sample alone several targets."""
    listed = isinstance(target, Sequence | np.ndarray) and not isinstance(target, str)
    if listed and given.x.ndim and len(given.x) > 1:
        return Target.each(list(target))
    return Target.of(target)


def solve(problem: Problem, method: Method) -> Explanation | Explanations:
    """The explanation of a problem by a method."""
    if problem.layers and not method.at_layer:
        raise MethodError(f"{method.name} explains at the input and takes no layer: leave it out, or use a CAM method")
    if problem.input.each and _one_by_one(problem, method):
        return together(problem, [solve(single, method) for single in problem.one_by_one()])
    if method.needs == "gradient" and not method.at_layer:
        problem = problem.by_embeddings()
    problem = method.question(problem)
    problem.notices.clear()  # what the runs of another method had to say stands in its explanations
    maps = method(problem)
    if len(maps.values) != problem.rows:
        raise ValueError(f"{method.name} gave {len(maps.values)} maps for {problem.rows} rows")
    probabilities = _probabilities(problem)
    parts = [_part(problem, method, maps, row, probabilities[row]) for row in range(problem.rows)]
    return parts[0] if len(parts) == 1 else Explanations(parts)


def _one_by_one(problem: Problem, method: Method) -> bool:
    """Whether the inputs of a set are explained one after the other: words are hidden in all of them alike, and a token
    that is said is of none of them."""
    if problem.input.reading is None:
        return method.at_layer or method.name in ONE_BY_ONE
    at_token = isinstance(problem.target, FixedTarget) and problem.target.target.at_token
    return method.at_layer and not at_token


def _part(problem: Problem, method: Method, maps: Maps, row: int, probability: float | None) -> Explanation:
    sample = int(problem.sample[row])
    values = np.ascontiguousarray(maps.values[row], np.float32)
    target, score = problem.targets[row], float(problem.scores[row])
    y = problem.y[sample]
    scores = (
        np.asarray(y, np.float32).reshape(-1)
        if isinstance(problem.target, ClassTarget)
        else np.array([score], np.float32)
    )
    geometry = None if problem.input.geometries is None else problem.input.geometries[sample]
    warnings = [
        *problems(values, maps.display, problem.why_not_finite),
        *(maps.warnings[row] if maps.warnings else ()),
    ]
    warnings += [*problem.notices, *_about_score(problem, method, row, score, scores)]
    if problem.input.geometries is not None:
        warnings += [f"{PREPROCESSING}{text}" for text in problem.input.warnings]
    warnings += [*problem.input.notes, *_held(problem), *_idle(problem)]
    return Explanation(
        values=values,
        probability=probability,
        method=method.name,
        options=method.options(),
        target=target,
        score=score,
        scores=scores,
        layer=maps.layer,
        reason=maps.reason,
        warnings=tuple(dict.fromkeys(warnings)),
        details={**_why(problem), **(maps.details[row] if maps.details else {})},
        reduce=maps.reduce,
        display=maps.display,
        size=problem.input.plane,
        map=maps.shown(row, problem.input),
        geometry=geometry,
        underneath=underneath(problem.source, problem.input, sample),
        model=problem.source,
        card=problem.input.card,
        label=target.title,
        asked=str(problem.asked.of_sample(sample)),
        inputs=problem.input.columns or tuple(n for n, _ in problem.input.parts) or (problem.input.name,),
        split=tuple(size for _, size in problem.input.parts),
        split_axis=problem.input.part_axis - 1 if values.ndim == problem.input.x.ndim - 1 else values.ndim - 1,
        part_shapes=_part_shapes(problem.input, values.ndim),
        **_along(problem, values),
        channels=maps.channels(row, problem.input),
        reading=problem.input.reading,
        in_colours=maps.in_colours,
    )


def _part_shapes(given: Input, axes: int) -> tuple[tuple[int, ...], ...]:
    """The shapes of the parts in values of so many axes, where they differ: those of the input, or of its planes."""
    if axes == given.x.ndim - 1 or given.axes is None:
        return given.part_shapes
    return tuple((shape[given.axes[0] - 1], shape[given.axes[1] - 1]) for shape in given.part_shapes)


def _probabilities(problem: Problem) -> list[float | None]:
    """Of the class that each row explains; None where its target is not one class."""
    target, classes = problem.target, problem.classes
    if not isinstance(target, ClassTarget) or classes is None or not answer_of(problem.source).has_classes:
        return [None] * problem.rows
    used = [
        {int(c) for c, weight in zip(row, weights, strict=True) if weight}
        for row, weights in zip(classes, target.row_weights(len(problem.y)), strict=True)
    ]
    shown = class_probabilities(answer_of(problem.source), target.by_class(problem.y), target.scale)
    return [
        float(shown[sample, found.pop()]) if len(found) == 1 else None
        for sample, found in zip(problem.sample, used, strict=True)
    ]


def _along(problem: Problem, values: NDArray[np.float32]) -> dict[str, Any]:
    """The sizes of a signal or a volume, where the values lie along it, and the axis of their channels."""
    given = problem.input
    found = spatial_input(problem.source)
    if given.axes is not None or found is None or found[0] != given.name:
        return {}
    extent = tuple(given.x.shape[axis] for axis in found[1])
    if values.ndim == len(extent):
        return {"extent": extent}
    rest = [axis - 1 for axis in range(1, given.x.ndim) if axis not in found[1]]
    whole = values.shape == given.x.shape[1:] and len(rest) == 1
    return {"extent": extent, "extent_channel": rest[0]} if whole else {}


def _why(problem: Problem) -> dict[str, str]:
    """Why the target is what it is, where nobody named one, and the value that is explained by."""
    reason = "" if isinstance(problem.target, ClassTarget) else problem.target.reason
    return ({"target": reason} if reason else {}) | _at(problem.input)


def _at(given: Input) -> dict[str, str]:
    return {"at": given.name} if given.at and len(given.parts) < 2 else {}


# Targets about classes ask what the output holds; the others name a value.
_OF_ANSWER = ("output", "answer", "scores", "decision_threshold")


def _idle(problem: Problem) -> list[str]:
    """A warning about options that say what the model answers where the target does not ask for it."""
    given = [name for name in _OF_ANSWER if name in problem.source.overrides]
    if given and not problem.asked.of_answer:
        return [f"the options {', '.join(given)} have no effect on the target {problem.asked}, which names its value"]
    if "decision_threshold" in given and problem.asked.of_classes:
        return ["the option decision_threshold says which labels are true and has no effect on their explanation"]
    return []


# Inputs that a warning names.
_MOST_NAMED = 5


def _held(problem: Problem) -> list[str]:
    """A warning about the inputs that the score depends on as well and that are not explained."""
    before = problem.model.ancestors(problem.target.of)
    held = [name for name in problem.input.others if name in before]
    if not held or problem.input.at or problem.input.in_set:
        return []
    more = f" and {len(held) - _MOST_NAMED} more" if len(held) > _MOST_NAMED else ""
    named = ", ".join(map(repr, held[:_MOST_NAMED])) + more
    return [
        f"only {_what(problem.input)} explained, {named} kept the values given: explain another one with "
        f"input={held[0]!r}"
    ]


def _what(given: Input) -> str:
    return f"the inputs {given.named} are" if given.parts else f"the input {given.name!r} is"


def _about_score(problem: Problem, method: Method, row: int, score: float, scores: NDArray[np.float32]) -> list[str]:
    """Warnings about the explained number: not finite, tiny, or a probability that has no slope left."""
    if not np.isfinite(score):
        return [f"the score is not a finite number: {problem.why_not_finite()}"]
    found = []
    largest = float(np.nanmax(np.abs(scores))) if scores.size else 0.0
    if isinstance(problem.target, ClassTarget) and abs(score) < TINY * largest:
        found.append(
            f"the target's score is tiny ({score:.3g}, the largest is {largest:.3g}): the network does not see it"
        )
    if method.needs == "gradient" and (text := saturated(problem, row, score)) is not None:
        found.append(text)
    if isinstance(problem.target, ClassTarget) and method.needs == "gradient" and _straight_through(problem.source):
        found.append("the model is quantised: gradients go straight through its rounding, an approximation")
    return found


def _straight_through(model: Model) -> bool:
    """Whether activations are rounded in the graph (QDQ)."""
    return any((domain, "QuantizeLinear") in model.operators for domain in ("", MICROSOFT))
