"""Sheets of optimised pictures: what each was made for, both numbers, examples of a dataset next to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import figure

if TYPE_CHECKING:
    from ...engine.survey.exciting import ExcitingImage

_SIDE, _SMALL = 200, 97


def sheet(
    name: str,
    entries: Sequence[Mapping[str, Any]],
    pictures: Sequence[NDArray[np.uint8]],
    examples: Mapping[int, Sequence[ExcitingImage]],
    columns: int | None = None,
    minimised: bool = False,
) -> NDArray[np.uint8]:
    """A page of the pictures of a run, with what `examples` has for their numbers."""
    panels = []
    for entry, pixels in zip(entries, pictures, strict=True):
        block = figure.picture(pixels, _SIDE)
        if shown := examples.get(entry["number"]):
            tiles = [figure.picture(_square(image.pixels), _SMALL) for image in shown[:4]]
            block = figure.side_by_side([block, figure.grid(tiles, 2, gap=6)], gap=6)
        panels.append(figure.panel(block, title(entry), numbers(entry, examples.get(entry["number"]), minimised)))
    aim, ends = ("minimise", "least, and the least") if minimised else ("excite", "most, and the greatest")
    lines = [
        f"Each picture was optimised to {aim} what is named above it. Below: the value before the activation function "
        "and the one behind it."
    ]
    if examples:
        lines.append(f"Next to it, the images of the dataset that excite it {ends} of their values.")
    return figure.page(f"What units of {name} look for", lines, [figure.grid(panels, columns)])


def title(entry: Mapping[str, Any]) -> str:
    """The objective in few words, and the checkpoint."""
    kind, _, rest = str(entry["objective"]).partition(":")
    words = rest.replace(":", " ") if kind in ("channel", "neuron", "logit") else str(entry["objective"])
    return f"{words}, {entry['checkpoint']}" if entry.get("checkpoint") else words


def numbers(entry: Mapping[str, Any], examples: Sequence[ExcitingImage] | None, minimised: bool = False) -> str:
    if not entry.get("depends_on_the_image", True):
        return "does not depend on the image"
    before, after = (figure.number(float(entry[key])) for key in ("before_activation", "after_activation"))
    note = before if before == after else f"{before}, then {after}"
    ends = "down to" if minimised else "up to"
    return f"{note}; images {ends} {figure.number(examples[0].value)}" if examples else note


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square in the middle."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])
