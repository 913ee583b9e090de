"""The section of the report on what units look for: three depths of a model, and its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .visualize import title_of

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.optimize.objective import Objective
    from ..figures.parts import Part, Section
    from .subject import Subject

# Depths of the layers shown, as shares of those with maps; channels of each; classes at most, of a model with few.
_DEPTHS, _CHANNELS, _CLASSES = (0.3, 0.65, 1.0), 4, 8
_STEPS, _SIDE = 20, 96


def section(subject: Subject) -> Section:
    """Small pictures in few steps: `onnxray visualize` makes better ones."""
    from ...engine.errors import OnnxrayError
    from ..figures.parts import Heading, Section

    title = "What units look for"
    try:
        groups = [(name, _drawn(subject, objectives)) for name, objectives in _asked(subject.model)]
    except OnnxrayError as error:
        return Section(title, f"There are no pictures of it: {error}.")
    parts: list[Part] = []
    for name, tiles in groups:
        parts += [Heading(name), tiles]
    lead = (
        f"Images optimised in {_STEPS} steps to excite single channels and classes; below each the value before the "
        "activation function, and the one behind it. onnxray visualize draws larger ones of any unit."
    )
    return Section(title, lead, parts)


def _asked(model: Model) -> list[tuple[str, list[Objective]]]:
    """Of every layer shown its objectives, then those of the classes, if there are few."""
    from ...engine.errors import ModelError
    from ...engine.optimize.objectives.channel import Channel
    from ...engine.optimize.objectives.classes import Contrast
    from ...engine.preprocess.answers import answer_of

    # One layer for each map: the convolution's, not its activation function's.
    maps = [layer for layer in model.layers if layer.map_axes and layer.op == "Conv" and layer.cam]
    chosen = dict.fromkeys(maps[round(share * (len(maps) - 1))].name for share in _DEPTHS) if maps else {}
    found: list[tuple[str, list[Objective]]] = [
        (name, [Channel(name, channel) for channel in range(_CHANNELS)]) for name in chosen
    ]
    try:
        answer = answer_of(model)
    except ModelError:
        return found
    if answer.has_classes and (answer.classes or _CLASSES + 1) <= _CLASSES:
        found.append(("Classes", [Contrast(index) for index in range(answer.classes or 0)]))
    return found


def _drawn(subject: Subject, objectives: list[Objective]) -> Any:
    from ...engine.errors import ShapeError
    from ...engine.visualize import visualize
    from ..figures.parts import Tile, Tiles

    def made(size: int | None) -> Any:
        return visualize(
            subject.model,
            objective=objectives,
            steps=_STEPS,
            size=size,
            settle=False,
            batch=_CLASSES,
            **subject.work.runtime,
        )

    try:
        found = made(_SIDE)
    except ShapeError:  # at its own size only
        found = made(None)
    labels = subject.card.labels or ()
    tiles = [
        Tile(title_of(objective, labels), pixels, _note(float(before), float(after)))
        for objective, pixels, before, after in zip(objectives, found.images, found.before, found.after, strict=True)
    ]
    return Tiles(tuple(tiles), _SIDE)


def _note(before: float, after: float) -> str:
    from ..figures.figure import number

    return number(before) if before == after else f"{number(before)}, {number(after)}"
