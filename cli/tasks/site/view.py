"""What the pages show: facts, sheets and numbers of a folder, by layer and unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...files.sheet import read_record
from .folder import IMAGES, LINKS, LIVE_FACTS, LayerFiles, read_facts, read_json
from .plan import COARSE, DIVERSE, FIRST, SHEET, STRONGEST, WEAKEST

_CROPS, _HEATS, _FILTERS = "crops", "heats", "filters"


@dataclass(frozen=True)
class Sprite:
    """One tile of a sheet: `file` relative to the site, the tile's place, and how many tiles the sheet has each way."""

    file: str
    column: int
    row: int
    columns: int
    rows: int
    tile: tuple[int, int]
    value: float | None = None

    @property
    def place(self) -> str:
        """As CSS places a background that is `columns` times as wide as what it is seen through."""
        x = 100 * self.column / max(1, self.columns - 1)
        y = 100 * self.row / max(1, self.rows - 1)
        return f"{x:.6g}% {y:.6g}%"

    @property
    def scale(self) -> str:
        return f"{100 * self.columns}% {100 * self.rows}%"


@dataclass(frozen=True)
class UnitView:
    """A unit: its number, what it is called, and what there is of it; `numbers` and `links` as in the files."""

    number: int
    title: str
    strongest: Sprite | None = None
    weakest: Sprite | None = None
    diverse: tuple[Sprite, ...] = ()
    crops: tuple[Sprite, ...] = ()
    heats: tuple[Sprite, ...] = ()
    filter: Sprite | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tile(self) -> Sprite | None:
        """What stands for the unit in grids: its optimised picture, or what it sees of its strongest image; None where
        it has neither, or the same value for all images, so that none of them says more of it than another.
        """
        varies = self.numbers.get("highest") != self.numbers.get("lowest")
        return self.strongest or (self.crops[0] if self.crops and varies else None)


@dataclass(frozen=True)
class LayerView:
    """A layer of the site with its units; `facts` as `facts.py` writes them, `numbers` as `survey.py` does.

    reason: why there are no optimised pictures.
    """

    facts: Mapping[str, Any]
    units: tuple[UnitView, ...]
    numbers: Mapping[str, Any]
    reason: str = ""

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def slug(self) -> str:
        return str(self.facts["slug"])

    @property
    def classes(self) -> bool:
        return bool(self.facts["classes"])

    @cached_property
    def by_number(self) -> dict[int, UnitView]:
        return {unit.number: unit for unit in self.units}

    @cached_property
    def drawn(self) -> int:
        """How many units have a picture."""
        return sum(unit.strongest is not None for unit in self.units)


@dataclass(frozen=True)
class ImageView:
    """An image of the survey: its name, (height, width), class, and a small picture of it in a gray square."""

    name: str
    size: tuple[int, int]
    label: str | None
    sprite: Sprite


@dataclass(frozen=True)
class SiteView:
    """The whole site. `files` are those that its pages show or are made of; `images` of the survey, `count` of all;
    `live`, whether there is what a live page needs."""

    facts: Mapping[str, Any]
    layers: tuple[LayerView, ...]
    images: tuple[ImageView, ...]
    count: int
    files: tuple[str, ...] = field(default=())
    live: bool = False

    @cached_property
    def by_slug(self) -> dict[str, LayerView]:
        return {layer.slug: layer for layer in self.layers}

    @cached_property
    def class_layer(self) -> LayerView | None:
        """The layer whose units are the classes."""
        return next((layer for layer in self.layers if layer.classes), None)


class _Reader:
    """Reads the files of a folder, and keeps their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[str] = []

    def record(self, name: str) -> dict[str, Any] | None:
        return self._kept(name, read_record(self.folder / name))

    def json(self, name: str) -> dict[str, Any]:
        return self._kept(name, read_json(self.folder / name)) or {}

    def _kept(self, name: str, found: dict[str, Any] | None) -> dict[str, Any] | None:
        if found is not None:
            self.files.append(name)
        return found


def site_view(folder: Path) -> SiteView:
    """What lies in a folder. Raises OutputError where there is no site."""
    facts, reader = read_facts(folder), _Reader(folder)
    links, survey = reader.json(LINKS), reader.json(IMAGES)
    layers = tuple(_layer(reader, facts, entry, links, bool(survey)) for entry in facts["layers"])
    images = _images(reader, survey.get("images", []))
    return SiteView(
        facts, layers, images, int(survey.get("count", 0)), tuple(reader.files), (folder / LIVE_FACTS).is_file()
    )


def _images(reader: _Reader, entries: Sequence[Mapping[str, Any]]) -> tuple[ImageView, ...]:
    found: list[ImageView] = []
    while len(found) < len(entries):
        name = f"images/thumbs-{len(found) // (4 * SHEET)}.jpg"
        record = reader.record(name)
        if record is None:
            return ()
        for place, entry in enumerate(entries[len(found) : len(found) + 4 * SHEET]):
            size = (int(entry["size"][0]), int(entry["size"][1]))
            found.append(ImageView(str(entry["name"]), size, entry["label"], _tile(name, record, place)))
    return tuple(found)


def _layer(
    reader: _Reader, facts: Mapping[str, Any], entry: Mapping[str, Any], links: Mapping[str, Any], surveyed: bool
) -> LayerView:
    names = LayerFiles(entry["slug"])
    kinds = (FIRST, COARSE, STRONGEST, WEAKEST, DIVERSE, _FILTERS, *((_CROPS, _HEATS) if surveyed else ()))
    found: dict[str, dict[int, tuple[Sprite, ...]]] = {kind: {} for kind in (*kinds, _CROPS, _HEATS)}
    reason = ""
    for kind in kinds:
        for number in range(-(-len(entry["units"]) // SHEET)):
            name = names.sheet(kind, number)
            record = reader.record(name)
            if record is not None:
                found[kind].update(_sprites(name, record))
                reason = reason or (str(record.get("reason", "")) if kind in (FIRST, COARSE, STRONGEST) else "")
    numbers = reader.json(names.numbers) if surveyed else {}
    labels = facts["labels"] if entry["classes"] else None
    connected = links.get(entry["slug"], {})
    units = []
    for number in entry["units"]:
        best = next((found[kind][number] for kind in (STRONGEST, COARSE, FIRST) if number in found[kind]), ())
        label = labels[number] if labels and number < len(labels) else None
        units.append(
            UnitView(
                number,
                str(label) if label else f"{'class' if entry['classes'] else 'unit'} {number}",
                best[0] if best else None,
                _first(found[WEAKEST], number),
                found[DIVERSE].get(number, ()),
                found[_CROPS].get(number, ()),
                found[_HEATS].get(number, ()),
                _first(found[_FILTERS], number),
                numbers.get("units", {}).get(str(number), {}),
                connected.get(str(number), {}),
            )
        )
    return LayerView(entry, tuple(units), numbers, reason)


def _first(found: Mapping[int, tuple[Sprite, ...]], unit: int) -> Sprite | None:
    sprites = found.get(unit)
    return sprites[0] if sprites else None


def _sprites(name: str, record: Mapping[str, Any]) -> dict[int, tuple[Sprite, ...]]:
    """The tiles of every unit of a sheet; those that nothing drives have none."""
    if "reason" in record:
        return {}
    each, values = int(record.get("each", 1)), record.get("value")
    found: dict[int, tuple[Sprite, ...]] = {}
    for place, unit in enumerate(record["units"]):
        count = int(record["counts"][place]) if "counts" in record else each
        tiles = (
            _tile(name, record, n, None if values is None else float(values[n]))
            for n in range(place * each, place * each + count)
        )
        found[int(unit)] = tuple(tile for tile in tiles if tile.value is None or math.isfinite(tile.value))
    return {unit: sprites for unit, sprites in found.items() if sprites}


def _tile(name: str, record: Mapping[str, Any], place: int, value: float | None = None) -> Sprite:
    columns, tile = int(record["columns"]), (int(record["tile"][0]), int(record["tile"][1]))
    return Sprite(name, place % columns, place // columns, columns, int(record["rows"]), tile, value)
