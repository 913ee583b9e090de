"""The section of the report on the units that an image excites most, with what else excites them in a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.inspect.layers import Layer
    from ..figures.parts import Section, Tile
    from .subject import Subject

_UNITS, _EXAMPLES, _SIDE = 6, 5, 150


@dataclass(frozen=True)
class Examples:
    """Where examples come from: `layers` that there are some of, and pictures of the units of one.

    tiles: called with a layer's name and a unit.
    """

    layers: Sequence[str]
    tiles: Callable[[str, int], Sequence[Tile]]


def examples_in(folder: Path) -> Examples:
    """What a folder of `onnxray microscope` or `onnxray top` holds. Raises OutputError where it is neither."""
    from ...engine.errors import OutputError
    from .site.folder import is_site
    from .top import RESULT

    if is_site(folder):
        return _of_site(folder)
    result = folder / RESULT if (folder / RESULT).is_dir() else folder
    if not result.is_dir():
        raise OutputError(f"{str(folder)!r} is no folder: name one that onnxray microscope or onnxray top wrote")
    return _of_top(result)


def section(subject: Subject, examples: Examples | None, layer: str | None = None) -> Section:
    """The strongest units of a layer for the image looked at closely. Raises UnknownName (layer)."""
    from ..figures.parts import Heading, Section, Tiles

    title, found = "Strongest units", _layer(subject, examples, layer)
    if found is None:
        return Section(title, "The model has no feature map to show.")
    parts: list[Any] = []
    for unit, tile in _strongest(subject, found):
        shown = examples.tiles(found.name, unit) if examples is not None else ()
        parts += [Heading(f"{found.name}, unit {unit}"), Tiles((tile, *shown), _SIDE)]
    what = " Next to it, what the unit looks for and what excites it most in a data set." if examples else ""
    lead = f"The units of {found.name} that the image excites most, each where it is strong.{what}"
    return Section(title, lead, parts)


def _layer(subject: Subject, examples: Examples | None, layer: str | None) -> Layer | None:
    """The one asked for, else the last feature map, of those that there are examples of if possible."""
    from ...engine.inspect.layers import find_layer

    if layer is not None:
        return find_layer(subject.model, layer)
    fitting = [found for found in subject.model.layers if found.cam]
    known = [found for found in fitting if examples is not None and found.name in examples.layers]
    return known[-1] if known else fitting[-1] if fitting else None


def _strongest(subject: Subject, layer: Layer) -> list[tuple[int, Tile]]:
    """(unit, its heat over the image), the one with the highest value first."""
    import numpy as np

    from ...engine.targets.units import unit_axes
    from ...kernels import colormap
    from ...kernels.render import render
    from ..figures.figure import Scale, number, picture
    from ..figures.parts import Tile

    path, pixels = subject.focused
    photo, tensor = subject.work.prepare(path.name, pixels)
    pixels = subject.picture(pixels)
    _, values = next(subject.work.layers(tensor, [layer], around=False))
    _, channel, _ = unit_axes(subject.model, layer.name)
    maps = np.moveaxis(values[layer.output][0], channel - 1, 0)
    best = np.argsort(-maps.reshape(len(maps), -1).max(axis=1), kind="stable")[:_UNITS]
    found = []
    for unit in best:
        heat = photo.geometry.to_image(maps[unit])
        scale = Scale(colormap.SEQUENTIAL, 0.0, max(float(maps[unit].max()), 1e-12))
        table = colormap.table(colormap.SEQUENTIAL)
        shown = render(heat, photo.pixels, table, scale.lo, scale.hi, 0.7, "nearest", alpha_by_value=True)
        note = f"here, up to {number(float(maps[unit].max()))}"
        found.append((int(unit), Tile("this image", picture(shown, _SIDE * 2), note, scale)))
    return found


def _of_site(folder: Path) -> Examples:
    from ..figures.parts import Tile
    from ..files.images import read
    from .site.view import Sprite, site_view

    site = site_view(folder)
    sheets: dict[str, NDArray[np.uint8]] = {}

    def cut(sprite: Sprite) -> NDArray[np.uint8]:
        if sprite.file not in sheets:
            sheets[sprite.file] = read(folder / sprite.file)
        height, width = sprite.tile
        rows = sheets[sprite.file][sprite.row * height : (sprite.row + 1) * height]
        return rows[:, sprite.column * width : (sprite.column + 1) * width]

    def tiles(layer: str, unit: int) -> Sequence[Tile]:
        found = next((one for one in site.layers if one.name == layer), None)
        view = found.by_number.get(unit) if found is not None else None
        if view is None:
            return ()
        optimised = [Tile("optimised", cut(view.strongest), "excites it")] if view.strongest else []
        named = view.numbers.get("strongest", ())[:_EXAMPLES]
        crops = [
            Tile(f"example {n}", cut(sprite), site.images[example["image"]].name)
            for n, (sprite, example) in enumerate(zip(view.crops, named, strict=False), 1)
        ]
        return (*optimised, *crops)

    return Examples([layer.name for layer in site.layers], tiles)


def _of_top(folder: Path) -> Examples:
    from ...engine.errors import ImageError
    from ...engine.survey.top import load_top
    from ...engine.top import pixel_slices
    from ..figures.figure import number, picture
    from ..figures.parts import Tile
    from ..files.photos import read_shown

    top = load_top(folder)

    def tiles(layer: str, unit: int) -> Sequence[Tile]:
        if layer not in top.layers or unit >= top.layers[layer].layer.units:
            return ()
        found = []
        for n, example in enumerate(top.strongest(layer, unit)[:_EXAMPLES], 1):
            try:
                pixels = read_shown(example.image.name, top.card)
            except ImageError:
                continue  # it has gone since
            rows, columns = pixel_slices(example.box, (pixels.shape[0], pixels.shape[1]))
            note = f"{Path(example.image.name).name}, {number(example.value)}"
            found.append(Tile(f"example {n}", picture(pixels[rows, columns], _SIDE), note))
        return found

    return Examples(list(top.layers), tiles)
