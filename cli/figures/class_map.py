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
from .explanations import seen

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
    from ...engine.targets.kinds.classes import Class

    return one_line(Class(index, label_of(index, labels)).title)


def _on_image(e: Explanation) -> NDArray[np.int64]:
    """(H, W) on the original image: the class, -1 where nothing was hidden, -2 where the model does not look."""
    places = np.asarray(e.details["class_map"])
    if e.geometry is None:
        return places.astype(np.int64)
    return np.rint(e.geometry.to_image(places, "nearest", fill=_UNSEEN)).astype(np.int64)


def picture(e: Explanation, alpha: float = 0.6) -> NDArray[np.uint8]:
    """The image, coloured where the answer changes if that part is hidden, with a legend; the probability of the class,
    and the window that costs most; uint8 (H, W, 3).

    The image stays as it is where the answer stays. The 7 largest other classes have a colour each, the rest is gray.
    """
    found = answers(e)
    lines = [
        "The most probable class with each part of the image hidden; shares are of the image. "
        f"Nothing hidden: {found[0].label}."
    ]
    block = figure.framed(figure.picture(_tinted(e, alpha), _SIDE))
    body = figure.side_by_side([block, _legend(found, _LEGEND)], gap=2 * figure.GAP)
    return figure.page("Predicted class with each part hidden", lines, [body, *_more(e, _SIDE)])


def _more(e: Explanation, side: int) -> list[figure.Block]:
    found = [
        figure.captioned(block, f"{name[0].upper()}{name[1:]}", "", side) for name, block in hidden(e, side).items()
    ]
    return [figure.side_by_side(found, gap=2 * figure.GAP)] if found else []


def panels(e: Explanation, alpha: float, side: int) -> dict[str, figure.Block]:
    """The same as small pictures, `side` pixels wide, by what they show."""
    shown = [figure.framed(figure.picture(_tinted(e, alpha), side)), _legend(answers(e)[:4], side)]
    return {"predicted class with each part hidden": figure.stack(shown, gap=6), **hidden(e, side)}


def hidden(e: Explanation, side: int) -> dict[str, figure.Block]:
    """The probability of the explained class with each part hidden (figure 6 d), and the window that costs most."""
    from ...kernels import colormap

    blocks = {}
    if "probability_map" in e.details and e.geometry is not None:
        scale = figure.Scale(colormap.SEQUENTIAL, 0.0, 1.0)
        values = e.geometry.to_image(e.details["probability_map"], "nearest", fill=float("nan"))
        picture = figure.framed(figure.picture(figure.colour(values, scale), side))
        blocks["probability of the explained class with each part hidden"] = figure.stack(
            [picture, figure.colour_bar(scale, side)], gap=5
        )
    shown = e.details.get("window_shown")
    if shown is not None:
        blocks["the part that costs most, hidden"] = figure.framed(_outlined(e, shown, side))
    return blocks


def _outlined(e: Explanation, shown: NDArray[np.uint8], side: int) -> figure.Block:
    """What the model sees of the image, in the image's proportions, with a line around the hidden window."""
    from ...kernels.resize import resize

    window = np.array(e.details["window"], np.float64).reshape(2, 2)
    if e.geometry is not None:
        y0, x0, y1, x1 = e.geometry.plane_box
        box = e.geometry.box
        high, wide = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
        scale = side / max(high, wide)
        size = (max(1, round(high * scale)), max(1, round(wide * scale)))
        window = (window - (y0, x0)) * np.divide(size, (y1 - y0, x1 - x0))
        out = resize(np.ascontiguousarray(shown[y0:y1, x0:x1]), size, "bilinear")
    else:
        out = figure.picture(shown, side)
        window = window * (out.shape[0] / shown.shape[0])
    (top, left), (bottom, right) = np.clip(np.rint(window), 0, out.shape[:2]).astype(int)
    for inset, ink in ((0, 255), (1, 0)):
        if top + inset < bottom - inset and left + inset < right - inset:
            rows, columns = [top + inset, bottom - 1 - inset], [left + inset, right - 1 - inset]
            out[rows, left + inset : right - inset] = ink
            out[top + inset : bottom - inset, columns] = ink
    return out


def _tinted(e: Explanation, alpha: float) -> NDArray[np.uint8]:
    """The image in the colours of the classes."""
    places, found = _on_image(e), answers(e)
    others = found[1:]
    image = np.full((*places.shape, 3), 255, np.uint8) if e.image is None else seen(e.image, e)
    tints = np.zeros((*places.shape, 3), np.float32)
    shares = np.zeros(places.shape, np.float32)
    colours = [*COLOURS, *(OTHER for _ in others[len(COLOURS) :])]
    for answer, colour in zip(others, colours, strict=False):
        tints[places == answer.index], shares[places == answer.index] = colour, alpha
    return np.rint(image * (1 - shares[..., None]) + tints * shares[..., None]).astype(np.uint8)


def _legend(found: Sequence[Answer], width: int) -> figure.Block:
    clean, others = found[0], found[1:]
    shown, rest = others[: len(COLOURS)], others[len(COLOURS) :]
    legend = [_entry(figure.PAPER, f"stays {clean.label}", clean.share, width)]
    legend += [_entry(colour, a.label, a.share, width) for a, colour in zip(shown, COLOURS, strict=False)]
    if rest:
        legend.append(_entry(OTHER, f"{len(rest)} other classes", sum(a.share for a in rest), width))
    return figure.stack(legend, gap=6)


def _entry(colour: figure.Colour, label: str, share: float, width: int) -> NDArray[np.uint8]:
    swatch = figure.framed(figure.blank(16, 24, colour))
    percent = figure.text(_percent(share), figure.SMALL, figure.MUTED)
    name = figure.text(label, figure.SMALL, width=width - percent.shape[1] - swatch.shape[1] - 20)
    return figure.side_by_side([swatch, name, percent], gap=10, align="middle")


def _percent(share: float) -> str:
    return "nowhere" if share == 0 else f"{share:.0%}" if share >= 0.01 else "less than 1%"
