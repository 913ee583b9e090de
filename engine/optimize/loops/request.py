"""What `compile` is asked for as a file that optimises an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx

from ...errors import MethodError, UnknownName
from ...graph.model import Model
from ...inspect.layers import value_of
from ...version import __version__
from ..dream.recipe import DreamRecipe
from ..loop import Recipe
from ..objective import OBJECTIVES, Objective, parse
from ..objectives.channel import Channel
from ..request import transforms_of
from .dream import dream_loop
from .graph import IMAGE, PICTURE, STEPS, TABLE
from .visualize import visualize_loop


def _numbers(given: Any) -> tuple[float, ...]:
    parts = given.split(",") if isinstance(given, str) else list(given)
    return tuple(float(part) for part in parts)


# The options of each kind: name -> how a text or a number becomes its value.
DREAM: Mapping[str, Callable[[Any], Any]] = {"seed": int, "rate": float, "jitter": int, "blurs": _numbers}
VISUALIZE: Mapping[str, Callable[[Any], Any]] = {"seed": int}


def optimisation(
    model: Model,
    visualize: str | None,
    dream: str | None,
    size: int | tuple[int, int] | None,
    options: Mapping[str, Any],
) -> Model:
    """A model of `image` and `steps` whose output `picture` is the image after so many steps of optimisation.

    visualize: "LAYER:CHANNEL", or an objective's text ("logit:tabby"). dream: a layer. size: of `visualize`'s picture.
    options: `seed`; of a dream `rate`, `jitter` and `blurs`. Values may be texts.

    Raises MethodError, UnknownName, TargetError, GradientError and its subclasses, ShapeError, ModelError, CardError.
    """
    if visualize is not None and dream is not None:
        raise MethodError("a file either visualizes or dreams: give one of the two")
    kind, known = ("visualize", VISUALIZE) if dream is None else ("dream", DREAM)
    values = _checked(kind, known, options)
    note = {
        "method": kind,
        "options": values,
        "layer": dream,
        "layer_reason": "given",
        "output": PICTURE,
        "input": IMAGE,
        "steps_input": STEPS,
        "random_moves": f"a table of {TABLE} in the file, then from its beginning",
        "source_sha256": model.sha256,
        "versions": {"onnxray": __version__, "onnx": onnx.__version__},
    }
    if dream is not None:
        if size is not None:
            raise MethodError("a file that dreams takes images of any size, if the network does: leave size out")
        return dream_loop(model, dream, DreamRecipe(**values), {**note, "target": f"layer:{dream}"})
    objective = objective_of(model, str(visualize))
    note.update(target=str(objective), layer=getattr(objective, "layer", None))
    side = (size, size) if isinstance(size, int) else size
    recipe = Recipe(seed=values.get("seed", 0), transforms=transforms_of(model, side, [objective]))
    return visualize_loop(model, objective, recipe, side, note)


def _checked(kind: str, known: Mapping[str, Callable[[Any], Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in options.items():
        if name not in known:
            raise UnknownName(f"option of compiled {kind}", name, known, f"there are {', '.join(known)}")
        try:
            found[name] = known[name](value)
        except (TypeError, ValueError):
            raise MethodError(f"the option {name} of {kind} cannot be {value!r}: give a number") from None
    return found


def objective_of(model: Model, text: str) -> Objective:
    """LAYER:CHANNEL, or an objective's text. Raises MethodError, UnknownName."""
    if ":" not in text:
        raise MethodError(f"{text!r} is neither LAYER:CHANNEL nor an objective such as logit:CLASS")
    layer, _, channel = text.rpartition(":")
    named = "*" in text or text.partition(":")[0].strip() in OBJECTIVES.all()
    if channel.isascii() and channel.isdigit() and (_has(model, layer) or not named):
        return Channel(layer, int(channel))
    return parse(text)


def _has(model: Model, layer: str) -> bool:
    try:
        value_of(model, layer)
    except UnknownName:
        return False
    return True
