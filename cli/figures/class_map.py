"""The most probable class when a part of the image is hidden, place by place, as a picture with a legend.

M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, figure 6 e.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..terminal.echo import one_line
from . import figure

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

# M. Okabe and K. Ito, "Color Universal Design", 2008: distinct with every kind of colour vision.
COLOURS: tuple[figure.Colour, ...] = (
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (230, 159, 0),
)
OTHER: figure.Colour = (120, 120, 120)
_UNSEEN, _NONE = -2, -1
_SIDE, _LEGEND = 448, 330


@dataclass(frozen=True)
class Answer:
    """A class that is the most probable one with some part hidden. share: of the image's pixels that were hidden."""

    index: int
    label: str
    share: float

    def to_mapping(self) -> dict[str, Any]:
        """For manifests."""
        return {"class": self.index, "label": self.label, "share": self.share}


def has_classes(e: Explanation) -> bool:
    return "class_map" in e.details


def answers(e: Explanation) -> list[Answer]:
    """The classes of an explanation that `has_classes`, the one with nothing hidden first, then by their shares."""
    places = _on_image(e)
    seen = places[places >= 0]
    indices, counts = np.unique(seen, return_counts=True)
    labels = (e.card or {}).get("labels")
    found = [Answer(int(i), _label(int(i), labels), float(n / seen.size)) for i, n in zip(indices, counts, strict=True)]
    clean = e.details["class"]
    if clean not in indices:
        found.append(Answer(clean, _label(clean, labels), 0.0))
    return sorted(found, key=lambda a: (a.index != clean, -a.share, a.index))


def _label(index: int, labels: Sequence[str] | None) -> str:
    from ...engine.targets.classes import label_of
    from ...engine.targets.target import Class

    return one_line(Class(index, label_of(index, labels)).title)


def _on_image(e: Explanation) -> NDArray[np.int64]:
    """(H, W) on the original image: the class, -1 where nothing was hidden, -2 where the model does not look."""
    places = np.asarray(e.details["class_map"])
    if e.geometry is None:
        return places.astype(np.int64)
    return np.rint(e.geometry.to_image(places, "nearest", fill=_UNSEEN)).astype(np.int64)


def picture(e: Explanation, alpha: float = 0.6) -> NDArray[np.uint8]:
    """The image, coloured where the answer changes if that part is hidden, and a legend; uint8 (H, W, 3).

    The image stays as it is where the answer stays. The 7 largest other classes have a colour each, the rest is gray.
    """
    places, found = _on_image(e), answers(e)
    clean, others = found[0], found[1:]
    shown, rest = others[: len(COLOURS)], others[len(COLOURS) :]
    image = e.image if e.image is not None else np.full((*places.shape, 3), 255, np.uint8)
    tints = np.zeros((*places.shape, 3), np.float32)
    shares = np.zeros(places.shape, np.float32)
    for answer, colour in (*zip(shown, COLOURS, strict=False), *((answer, OTHER) for answer in rest)):
        tints[places == answer.index], shares[places == answer.index] = colour, alpha
    mixed = np.rint(image * (1 - shares[..., None]) + tints * shares[..., None]).astype(np.uint8)
    legend = [_entry(figure.PAPER, f"stays {clean.label}", clean.share)]
    legend += [_entry(colour, a.label, a.share) for a, colour in zip(shown, COLOURS, strict=False)]
    if rest:
        legend.append(_entry(OTHER, f"{len(rest)} other classes", sum(a.share for a in rest)))
    block = figure.framed(figure.picture(mixed, _SIDE))
    lines = [
        "The most probable class with each part of the image hidden; shares are of the image. "
        f"Nothing hidden: {clean.label}."
    ]
    body = figure.side_by_side([block, figure.stack(legend, gap=8)], gap=2 * figure.GAP)
    return figure.page("What the answer becomes", lines, [body])


def _entry(colour: figure.Colour, label: str, share: float) -> NDArray[np.uint8]:
    swatch = figure.framed(figure.blank(16, 24, colour))
    percent = figure.text(_percent(share), figure.SMALL, figure.MUTED)
    name = figure.text(label, figure.SMALL, width=_LEGEND - percent.shape[1] - figure.GAP)
    return figure.side_by_side([swatch, name, percent], gap=10, align="middle")


def _percent(share: float) -> str:
    return "nowhere" if share == 0 else f"{share:.0%}" if share >= 0.01 else "less than 1%"
