"""The section of the report on preprocessing: what the model sees of the image, and what it would answer otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ..figures.parts import Part, Section
    from .subject import Subject

_SIDE = 320


def section(subject: Subject) -> Section:
    """The image and what becomes of it, the fields of the card, answers under other preprocessing."""
    from ..figures.figure import picture
    from ..figures.parts import Heading, Section, Table, Tile, Tiles

    path, pixels = subject.focused
    card = subject.card
    tiles = [Tile(path.name, picture(subject.picture(pixels), _SIDE), f"{pixels.shape[1]} x {pixels.shape[0]} pixels")]
    shown = _seen(subject, pixels)
    if shown is not None:
        size = f"{card.size[1]} x {card.size[0]} pixels, {card.order}, {card.resize}"
        tiles.append(Tile("what the model sees", picture(shown, _SIDE), size))
    parts: list[Part] = [Tiles(tuple(tiles), _SIDE)]
    rows = tuple(_answers(subject.model, subject, pixels))
    if rows:
        parts += [
            Heading("If it were prepared otherwise"),
            Table(("preprocessing", "most probable class", "probability"), rows, frozenset({2})),
        ]
    doubts = f" Doubtful: {'; '.join(card.warnings)}." if card.warnings else ""
    lead = (
        "How the image becomes the model's input. If another preparation gives the right answer, or the same with far "
        f"more confidence, the model's card is wrong.{doubts}"
    )
    return Section("Preprocessing", lead, parts)


def _seen(subject: Subject, pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """The model's input as a picture again; None where it is none."""
    import numpy as np

    from ...engine.errors import OnnxrayError
    from ...engine.optimize.canvas import canvas_of
    from ...engine.preprocess.image import prepare

    try:
        canvas = canvas_of(subject.model)
        tensor = prepare(pixels, subject.card).tensor
        seen = canvas.seen(np.asarray(tensor[:1] if canvas.batched else tensor, np.float32))
    except OnnxrayError:
        return None
    gain, shift = (np.reshape(np.array(part, np.float32), (1, -1, 1, 1)) for part in (canvas.gain, canvas.shift))
    picture = np.empty_like(seen)
    picture[:, list(canvas.order)] = (seen - shift) / gain
    return np.asarray(canvas.shown(picture)[0])


def _answers(model: Model, subject: Subject, pixels: NDArray[Any]) -> Iterator[tuple[str, str, str]]:
    """(what is changed, class, probability) as the card says, then otherwise."""
    from ...engine.errors import OnnxrayError
    from ...engine.predict import predict

    for words, fields in _variants(subject):
        try:
            answer = predict(model, pixels, 1, **fields, **subject.work.runtime)
        except OnnxrayError:
            continue
        if answer.probability is not None:
            label = answer.label or f"class {answer.index}"
            yield words, str(label), f"{100 * answer.probability:.1f} %"


def _variants(subject: Subject) -> list[tuple[str, dict[str, Any]]]:
    card = subject.card
    found: list[tuple[str, dict[str, Any]]] = [("as the card says", {})]
    swapped = {"RGB": "BGR", "BGR": "RGB"}.get(str(card.order))
    if swapped:
        found.append((f"{swapped} in place of {card.order}", {"order": swapped}))
    for mode in ("stretch", "crop", "letterbox"):
        if mode != card.resize:
            found.append((f"{mode} in place of {card.resize}", {"resize": mode}))
    for words, mean, std in (
        ("pixels from 0 to 1", 0.0, 255.0),
        ("pixels from -1 to 1", 127.5, 127.5),
        ("pixels from 0 to 255", 0.0, 1.0),
    ):
        if set(card.mean) != {mean} or set(card.std) != {std}:
            found.append((words, {"mean": mean, "std": std}))
    return found
