"""What units see of their strongest images: crops, and the units' heat over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .plan import SiteLayer
from .survey import BEST, CROP, Survey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....engine.graph.model import Model
    from ....engine.inference.batches import RunOptions
    from ....engine.survey.top import Example

# Images kept decoded while crops are cut, and crops: units of deep layers see the same whole images.
_IMAGES, _CROPS = 64, 8192
# How much of the crop the colours of the strongest heat hide.
_STRONG = 0.7


@dataclass
class Cache:
    """Images and crops that are kept while crops are cut."""

    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    crops: dict[tuple[str, tuple[int, int, int, int]], NDArray[np.uint8]] = field(default_factory=dict)

    def pixels(self, survey: Survey, name: str) -> NDArray[np.uint8]:
        """An image, kept until others take its place."""
        if name not in self.images:
            if len(self.images) >= _IMAGES:
                self.images.pop(next(iter(self.images)))
            self.images[name] = survey.pixels(name)
        return self.images[name]


def crops(
    survey: Survey, layer: SiteLayer, units: Sequence[int], cache: Cache
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Tiles (units * BEST, CROP, CROP, 3) of what units see of their strongest images."""
    import numpy as np

    tiles = np.full((len(units) * BEST, CROP, CROP, 3), 128, np.uint8)
    counts = []
    for row, unit in enumerate(units):
        examples = survey.strongest(layer.name, unit)
        counts.append(len(examples))
        for place, example in enumerate(examples):
            tiles[row * BEST + place] = _crop(survey, example, cache)
    return tiles, {"units": list(units), "each": BEST, "counts": counts}


def _crop(survey: Survey, example: Example, cache: Cache) -> NDArray[np.uint8]:
    """A square around what the unit sees, as far as the image goes."""
    import numpy as np

    from ....kernels.resize import resize

    name = example.image.name
    pixels = cache.pixels(survey, name)
    place = square_of(example.box, pixels.shape[:2])
    if (name, place) not in cache.crops:
        if len(cache.crops) >= _CROPS:
            cache.crops.pop(next(iter(cache.crops)))
        y0, x0, y1, x1 = place
        cut = resize(np.ascontiguousarray(pixels[y0:y1, x0:x1]), (CROP, CROP))
        cache.crops[name, place] = np.asarray(cut)
    return cache.crops[name, place]


def square_of(box: Sequence[float], size: Sequence[int]) -> tuple[int, int, int, int]:
    """The least square of whole pixels around a box, moved into the image; cut where the image is smaller."""
    import math

    y0, x0, y1, x1 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    side = max(1, y1 - y0, x1 - x0)
    found = []
    for low, high, length in ((y0, y1, size[0]), (x0, x1, size[1])):
        start = min(max(0, low - (side - (high - low)) // 2), max(0, length - side))
        found.append((start, min(length, start + side)))
    return found[0][0], found[1][0], found[0][1], found[1][1]


# Bytes of maps that are kept at once, and images that are run for them: a layer with more of either is on its own.
_MAPS, _RUNS = 1 << 28, 256


class Heats:
    """The maps of units in their strongest images: each image runs once for as many layers as there is room for."""

    def __init__(self, survey: Survey, model: Model, layers: Sequence[SiteLayer], runtime: RunOptions) -> None:
        from ....engine.survey.scan import sized
        from ....engine.survey.units import unit_layers

        assert survey.top is not None
        self._survey, self._runtime, self._site = survey, runtime, list(layers)
        self._model, self._card = sized(model)
        found = unit_layers(self._model, [layer.name for layer in layers], plane=self._card.size)
        self._layers = {layer.name: layer for layer in found if len(layer.grid) == 2 and layer.places > 1}
        self._maps: dict[str, dict[tuple[str, int], NDArray[np.float16]]] = {}
        self._weights: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[NDArray[np.float32]]] = {}

    def has(self, layer: SiteLayer) -> bool:
        """Whether units of the layer have heat: places on the image, several of them."""
        return layer.name in self._layers

    def over(self, layer: SiteLayer, unit: int, example: Example) -> NDArray[np.float32]:
        """The unit's values over the crop of an example, (CROP, CROP); NaN where the model does not see it."""
        if layer.name not in self._maps:
            self._run(layer)
        one = self._maps[layer.name][example.image.name, unit].astype("f4")
        rows, columns = self._taps(example, one.shape)
        heat: NDArray[np.float32] = rows @ one @ columns.T
        return heat

    def _run(self, first: SiteLayer) -> None:
        """From `first` on, as many layers as there is room for."""
        import dataclasses

        import numpy as np

        from ....engine.preprocess.image import prepare
        from ....engine.survey.scan import Feed

        group, wanted = [first], self._wanted(first)
        room = _MAPS - self._bytes(first)
        for layer in self._site[self._site.index(first) + 1 :]:
            if not self.has(layer):
                continue
            more = {name: [*wanted.get(name, ()), *rest] for name, rest in self._wanted(layer).items()}
            room -= self._bytes(layer)
            if room < 0 or len({**wanted, **more}) > _RUNS:
                break
            group.append(layer)
            wanted |= more
        read = [self._layers[layer.name] for layer in group]
        names = [name for layer in read for name in layer.read]
        feed = Feed(self._model, self._card, names, dataclasses.replace(self._runtime, batch=1))
        self._maps = {layer.name: {} for layer in group}
        for name, units in wanted.items():
            values = feed.values([prepare(self._survey.stored(name), self._card).tensor])
            for known in read:
                mine = [unit for of, unit in units if of == known.name]
                kept = np.clip(known.maps(values)[0][mine], -65504, 65504).astype(np.float16)
                for unit, one in zip(mine, kept, strict=True):
                    self._maps[known.name][name, unit] = one.reshape(known.grid)

    def _wanted(self, layer: SiteLayer) -> dict[str, list[tuple[str, int]]]:
        """Image -> the units whose strongest it is."""
        found: dict[str, list[tuple[str, int]]] = {}
        for unit in layer.units:
            for example in self._survey.strongest(layer.name, unit):
                found.setdefault(example.image.name, []).append((layer.name, unit))
        return found

    def _bytes(self, layer: SiteLayer) -> int:
        return len(layer.units) * BEST * self._layers[layer.name].places * 2

    def _taps(self, example: Example, cells: Sequence[int]) -> list[NDArray[np.float32]]:
        """Per axis the weights (CROP, cells) of a map's cells in the pixels of a crop, as in `Geometry.to_image`."""
        import numpy as np

        from ....engine.preprocess.geometry import place

        size = example.image.size
        square = square_of(example.box, size)
        key = (example.image.name, square, tuple(cells))
        if key not in self._weights:
            whole, found = place(self._card, size), []
            for axis in (0, 1):
                zoom = whole.resized[axis] / size[axis]
                step = (square[axis + 2] - square[axis]) / CROP
                at = (square[axis] + (np.arange(CROP) + 0.5) * step) * zoom + whole.offset[axis]
                scale = cells[axis] / whole.size[axis]
                reach = max(1.0, step * zoom * scale)
                centre = np.clip(at * scale, 0, cells[axis])
                weights = np.maximum(0, 1 - np.abs(np.arange(cells[axis]) + 0.5 - centre[:, None]) / reach)
                weights /= weights.sum(axis=1, keepdims=True)
                weights[(at < 0) | (at >= whole.size[axis])] = np.nan
                found.append(weights.astype(np.float32))
            if len(self._weights) >= _CROPS:
                self._weights.pop(next(iter(self._weights)))
            self._weights[key] = found
        return self._weights[key]


def heats(
    survey: Survey, found: Heats, layer: SiteLayer, units: Sequence[int], tiles: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """`tiles` of `crops`, with the heat of the units over them: as strong as the unit is above 0 there."""
    import numpy as np

    from ....kernels import colormap

    drawn: NDArray[np.uint8] = tiles.copy()
    table = colormap.table(colormap.SEQUENTIAL).astype(np.float32)
    weights = (_STRONG * np.minimum(1, 1.5 * np.linspace(0, 1, len(table), dtype=np.float32)))[:, None]
    kept, added = 1 - weights, table * weights + np.float32(0.5)
    for row, unit in enumerate(units):
        for at, example in enumerate(survey.strongest(layer.name, unit), row * BEST):
            heat = found.over(layer, unit, example)
            most = max(example.value, float(np.nanmax(heat, initial=0.0)), 1e-12)
            level = (np.fmax(heat, 0) * np.float32((len(table) - 1) / most)).astype(np.uint8)
            drawn[at] = tiles[at] * np.take(kept, level, axis=0) + np.take(added, level, axis=0)
    return drawn
