"""What the pages show: facts and sheets of a folder, by layer and unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...files.sheet import read_record
from .folder import read_facts
from .plan import COARSE, DIVERSE, SHEET, STRONGEST, WEAKEST


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
    steps: int = 0

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
    """A unit: its number, what it is called, and what there is of it. `pictures` are by kind, the best first."""

    number: int
    title: str
    strongest: Sprite | None = None
    weakest: Sprite | None = None
    diverse: tuple[Sprite, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class LayerView:
    """A layer of the site with its units; `facts` as `facts.py` writes them."""

    facts: Mapping[str, Any]
    units: tuple[UnitView, ...]
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
    def drawn(self) -> int:
        """How many units have a picture."""
        return sum(unit.strongest is not None for unit in self.units)


@dataclass(frozen=True)
class SiteView:
    """The whole site."""

    facts: Mapping[str, Any]
    layers: tuple[LayerView, ...]
    files: tuple[str, ...] = field(default=())


def site_view(folder: Path) -> SiteView:
    """What lies in a folder. Raises OutputError where there is no site."""
    facts = read_facts(folder)
    files: list[str] = []
    layers = tuple(_layer(folder, facts, entry, files) for entry in facts["layers"])
    return SiteView(facts, layers, tuple(files))


def _layer(folder: Path, facts: Mapping[str, Any], entry: Mapping[str, Any], files: list[str]) -> LayerView:
    found: dict[str, dict[int, tuple[Sprite, ...]]] = {kind: {} for kind in (COARSE, STRONGEST, WEAKEST, DIVERSE)}
    reason = ""
    for kind, sprites in found.items():
        for number in range(-(-len(entry["units"]) // SHEET)):
            name = f"layers/{entry['slug']}/{kind}-{number}.jpg"
            record = read_record(folder / name)
            if record is None:
                continue
            files.append(name)
            reason = reason or (str(record.get("reason", "")) if kind != DIVERSE else "")
            sprites.update(_sprites(name, record))
    labels = facts["labels"] if entry["classes"] else None
    units = []
    for number in entry["units"]:
        best = found[STRONGEST].get(number) or found[COARSE].get(number)
        weakest = found[WEAKEST].get(number)
        label = labels[number] if labels and number < len(labels) else None
        units.append(
            UnitView(
                number,
                str(label) if label else f"unit {number}",
                best[0] if best else None,
                weakest[0] if weakest else None,
                found[DIVERSE].get(number, ()),
                reason,
            )
        )
    return LayerView(entry, tuple(units), reason)


def _sprites(name: str, record: Mapping[str, Any]) -> dict[int, tuple[Sprite, ...]]:
    """The tiles of every unit of a sheet; those that nothing drives have none."""
    if "value" not in record:
        return {}
    each, columns = int(record.get("each", 1)), int(record["columns"])
    values: Sequence[float] = [float(v) for v in record["value"]]
    tile = (int(record["tile"][0]), int(record["tile"][1]))
    found: dict[int, tuple[Sprite, ...]] = {}
    for place, unit in enumerate(record["units"]):
        numbers = range(place * each, (place + 1) * each)
        found[int(unit)] = tuple(
            Sprite(name, n % columns, n // columns, columns, record["rows"], tile, values[n], int(record["steps"]))
            for n in numbers
            if math.isfinite(values[n])
        )
    return {unit: sprites for unit, sprites in found.items() if sprites}
