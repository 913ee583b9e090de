"""Sheets of units: the images that excite each most, what it sees of them, its heat and its projections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import figure

if TYPE_CHECKING:
    from ...engine.top import Look

TILE, _LABEL = 104, 118
_GAP = 6


@dataclass(frozen=True)
class Row:
    """One row of a unit: what its pictures are, and those; None for an image that is gone."""

    title: str
    looks: Sequence[Look | None]
    notes: Sequence[str]
    kind: str = "crop"


@dataclass(frozen=True)
class UnitRows:
    """A unit: its number or class, lines about it, and its rows."""

    title: str
    lines: Sequence[str]
    rows: Sequence[Row]


def sheet(title: str, lines: Sequence[str], units: Iterable[UnitRows]) -> NDArray[np.uint8]:
    """A page of units under one another, a rule between them."""
    blocks = list(map(_unit, units))
    width = max(block.shape[1] for block in blocks)
    parts: list[figure.Block] = []
    for block in blocks:
        parts += [figure.blank(1, width, figure.RULE), block] if parts else [block]
    return figure.page(title, lines, [figure.stack(parts, gap=12)])


def _unit(unit: UnitRows) -> figure.Block:
    name = figure.text(unit.title, figure.BODY, bold=True, width=figure.WIDTH)
    about = figure.text(";  ".join(unit.lines), figure.SMALL, figure.MUTED, width=figure.WIDTH - name.shape[1] - 20)
    head = figure.side_by_side([name, about], gap=16, align="end") if unit.lines else name
    return figure.stack([head, *(_row(row) for row in unit.rows)], gap=8)


def _row(row: Row) -> figure.Block:
    label = figure.blank(TILE + 2, _LABEL)
    words = figure.paragraph(row.title, figure.SMALL, _LABEL - 8, figure.MUTED)
    label[: words.shape[0], : words.shape[1]] = words[: label.shape[0]]
    tiles = [
        figure.panel(_tile(look, row.kind), note=note, width=TILE + 2)
        for look, note in zip(row.looks, row.notes, strict=True)
    ]
    return figure.side_by_side([label, *tiles], gap=_GAP)


def _tile(look: Look | None, kind: str) -> figure.Block:
    """A picture in the middle of a square."""
    out = figure.blank(TILE, TILE, figure.SHADE)
    if look is not None:
        picture = _picture(look, kind)
        scaled = figure.picture(picture, TILE)[:TILE, :TILE]
        top, left = ((TILE - length) // 2 for length in scaled.shape[:2])
        out[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return figure.framed(out)


def _picture(look: Look, kind: str) -> NDArray[np.uint8]:
    if kind == "crop":
        return look.crop
    if kind == "heat":
        return heated(look)
    return look.projections[kind]


def heated(look: Look) -> NDArray[np.uint8]:
    """The crop with the unit's values laid over it, red where they are high; only values above 0 have colour."""
    from ...kernels import colormap
    from ...kernels.render import render

    assert look.heat is not None
    most = max(look.example.value, float(np.nanmax(look.heat, initial=0.0)), 1e-12)
    heat = np.where(np.isnan(look.heat), np.nan, np.maximum(look.heat, 0)).astype(np.float32)
    return render(heat, look.crop, colormap.table(colormap.SEQUENTIAL), 0.0, most, 0.6)
