"""The plan of a site: its layers and units, and the pieces of work in the order they are done, coarse before fine.

It follows from the model and the options alone. Whatever the number of processes that share the work, the pieces are
the same, and so are their results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files.names import slug
from ...files.sheet import read_record
from .folder import LayerFiles

if TYPE_CHECKING:
    from ....engine.graph.model import Model
    from ....engine.inspect.own_units import OwnUnits

# Units of one sheet; its columns.
SHEET, COLUMNS = 64, 8
# Kinds of pictures, in the order they are made, all units of a kind before the next.
COARSE, STRONGEST, WEAKEST, DIVERSE = "coarse", "strongest", "weakest", "diverse"
KINDS = (COARSE, STRONGEST, WEAKEST, DIVERSE)
# Coarse pictures of the first units of each layer, which come before all others when the time is limited.
FIRST, FIRSTS = "first", 16


@dataclass(frozen=True)
class SiteLayer:
    """A layer of the site.

    Attributes: `entry`, `slug` (its folder's name), `units` (those of the site), `count` (all that it has), `classes`
    (whether its units are the model's classes).
    """

    entry: OwnUnits
    slug: str
    units: tuple[int, ...]
    count: int
    classes: bool

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def sheets(self) -> list[tuple[int, tuple[int, ...]]]:
        """(number, units) of every sheet."""
        return list(enumerate(self.units[at : at + SHEET] for at in range(0, len(self.units), SHEET)))


@dataclass(frozen=True)
class Piece:
    """Pictures of one kind, of units of one layer that share a sheet; `number` is the sheet's."""

    layer: SiteLayer
    kind: str
    number: int
    units: tuple[int, ...]

    @property
    def file(self) -> str:
        """Name of its sheet, relative to the site."""
        return LayerFiles(self.layer.slug).sheet(self.kind, self.number)


def site_layers(model: Model, names: Sequence[str], units: str) -> list[SiteLayer]:
    """The layers of the site. units: a text such as "0-15,20", "" for all; a layer that lacks some has the others.

    Raises UnknownName, and TargetError where no layer has units.
    """
    from ....engine.errors import TargetError
    from ....engine.inspect.own_units import chosen, same_numbers

    order = {layer.name: place for place, layer in enumerate(model.layers)}
    wanted, classes = _ranges(units), class_value(model)
    scores = frozenset[str]() if classes is None else same_numbers(model, classes, means=True)
    class_count = None if classes is None else _class_count(model)
    found, errors = [], []
    for entry in chosen(model, tuple(names)):
        try:
            count = unit_count(model, entry.name)
        except TargetError as error:
            errors.append(str(error))
            continue
        mine = tuple(n for n in range(count) if wanted is None or any(n in part for part in wanted))
        if mine:
            of_classes = count == class_count and not scores.isdisjoint(part.output for part in entry.chain)
            found.append(SiteLayer(entry, f"{order[entry.name]:03d}-{slug(entry.name)}", mine, count, of_classes))
    if not found:
        raise TargetError(errors[0] if errors else "no layer of the model has units of its own: name one with --layers")
    return found


def class_value(model: Model) -> str | None:
    """The value that holds the scores of the classes, None where the model has none."""
    from ....engine.errors import OnnxrayError
    from ....engine.optimize.build import logits_of
    from ....engine.preprocess.answers import answer_of

    try:
        return logits_of(model)[0] if answer_of(model).has_classes else None
    except OnnxrayError:
        return None


def _class_count(model: Model) -> int | None:
    from ....engine.inspect.concrete_shapes import concrete_shapes
    from ....engine.optimize.build import logits_of

    value, axis, _ = logits_of(model)
    shape = concrete_shapes(model).get(value) or model.value(value).shape
    count = shape[axis] if shape is not None and axis < len(shape) else None
    return count if isinstance(count, int) else None


def unit_count(model: Model, name: str) -> int:
    """How many units a layer has. Raises TargetError where that is not known."""
    from ....engine.errors import TargetError
    from ....engine.inspect.concrete_shapes import concrete_shapes
    from ....engine.targets.units import unit_axes

    value, channel, _ = unit_axes(model, name)
    shape = concrete_shapes(model).get(value) or model.value(value).shape
    count = shape[channel] if shape is not None and channel < len(shape) else None
    if not isinstance(count, int) or count < 1:
        raise TargetError(f"how many units {name!r} has is not known: leave the layer out, or give --size")
    return count


def _ranges(text: str) -> list[range] | None:
    from ....engine.errors import TargetError

    if text in ("", "all"):
        return None
    found = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise TargetError(f"{part!r} is not a unit: give numbers, ranges like 0-7, or all")
        found.append(range(int(first), int(last or first) + 1))
    return found


def pieces(layers: Sequence[SiteLayer], kinds: Sequence[str]) -> list[Piece]:
    """All pictures to be made: kind by kind, and of each kind the first sheet of every layer, then the second.

    Classes come before layers; of the coarse kind all of them.
    """
    sheets = [(number, layer, units) for layer in layers for number, units in layer.sheets]
    found = []
    for kind in kinds:
        sheets.sort(key=lambda s: (0 if kind == COARSE and s[1].classes else s[0] + 1, not s[1].classes, s[0]))
        found += [Piece(layer, kind, number, units) for number, layer, units in sheets]
    return found


def first_pieces(layers: Sequence[SiteLayer]) -> list[Piece]:
    """Coarse pictures of the first units of every layer that has more than these, classes first."""
    order = sorted(layers, key=lambda layer: not layer.classes)
    return [Piece(layer, FIRST, 0, layer.units[:FIRSTS]) for layer in order if len(layer.units) > FIRSTS]


def superseded(folder: Path, file: str) -> bool:
    """Whether a sheet is a coarse one and a better one is there."""
    head, _, name = file.rpartition("/")
    kind, _, number = name.partition("-")
    better = {FIRST: (COARSE, STRONGEST), COARSE: (STRONGEST,)}.get(kind, ())
    return any(read_record(folder / head / f"{other}-{number}") is not None for other in better)


def of_shard(work: Sequence[Any], shard: tuple[int, int]) -> list[Any]:
    """Every N-th piece, from the I-th (counted from 1) on."""
    index, count = shard
    return list(work[index - 1 :: count])
