"""The parts that a section of the report is made of: pictures, bars, tables, headings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from .figure import Scale

    Part: TypeAlias = "Picture | Tiles | Compare | Rows | Bars | Table | Heading"


@dataclass(frozen=True)
class Picture:
    """A figure; `name` is its file name without the suffix, `alt` says in words what is to be seen.

    on_page: whether the page shows it; else it is a file next to the page, which shows the same in parts.
    """

    name: str
    pixels: NDArray[np.uint8]
    alt: str
    caption: str = ""
    on_page: bool = True

    @cached_property
    def png(self) -> bytes:
        """The figure as a file."""
        from ..files.images import encode

        return encode(self.pixels, ".png")


@dataclass(frozen=True)
class Tile:
    """A small picture with its title, a note, and what its colours mean.

    cells: whether its pixels are cells of a map, to be shown as squares.
    """

    title: str
    pixels: NDArray[np.uint8]
    note: str = ""
    scale: Scale | None = None
    cells: bool = False


@dataclass(frozen=True)
class Tiles:
    """Small pictures in as many columns as there is room for, each at least `side` pixels wide."""

    tiles: tuple[Tile, ...]
    side: int = 160


@dataclass(frozen=True)
class Compare:
    """One image with several maps laid over it, next to each other, and a slider between the image and the maps."""

    photo: NDArray[np.uint8]
    maps: tuple[Tile, ...]


@dataclass(frozen=True)
class Row:
    """One method on every target."""

    title: str
    note: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Rows:
    """Methods as rows, targets as columns with their titles."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Bars:
    """An image with named shares from 0 to 1 under it."""

    title: str
    pixels: NDArray[np.uint8]
    bars: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Table:
    """Rows of texts under titles; `right` holds the columns that are numbers, `lights` those of traffic lights: green,
    yellow, red, gray.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    lights: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the report: its title, a sentence or two that say what is to be seen, then the parts."""

    title: str
    lead: str
    parts: Sequence[Part] = field(default_factory=tuple)

    @property
    def pictures(self) -> Iterator[Picture]:
        yield from (part for part in self.parts if isinstance(part, Picture))
