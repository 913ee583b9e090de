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
    from ....engine.survey.units import UnitLayer

# Images kept decoded while crops are cut, and crops: units of deep layers see the same whole images.
_IMAGES, _CROPS = 64, 8192


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

    assert survey.top is not None
    tiles = np.full((len(units) * BEST, CROP, CROP, 3), 128, np.uint8)
    counts = []
    for row, unit in enumerate(units):
        examples = survey.top.strongest(layer.name, unit)[:BEST]
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


class Heats:
    """The maps of a layer's units in their strongest images, each image run once.

    `known` is False for layers whose units have one place, or places that do not lie on the image.
    """

    def __init__(self, survey: Survey, model: Model, layer: SiteLayer, runtime: RunOptions) -> None:
        from ....engine.survey.scan import sized
        from ....engine.survey.units import unit_layers

        assert survey.top is not None
        self._model, self._card = sized(model)
        (found,) = unit_layers(self._model, [layer.name], plane=self._card.size)
        self.known = len(found.grid) == 2 and found.places > 1
        self._maps: dict[tuple[str, int], NDArray[np.float16]] = {}
        if self.known:
            self._run(survey, found, layer, runtime)

    def _run(self, survey: Survey, found: UnitLayer, layer: SiteLayer, runtime: RunOptions) -> None:
        import dataclasses

        import numpy as np

        from ....engine.preprocess.image import prepare
        from ....engine.survey.scan import Feed

        assert survey.top is not None
        wanted: dict[str, list[int]] = {}
        for unit in layer.units:
            for example in survey.top.strongest(layer.name, unit)[:BEST]:
                wanted.setdefault(example.image.name, []).append(unit)
        feed = Feed(self._model, self._card, found.read, dataclasses.replace(runtime, batch=1))
        for name, units in wanted.items():
            maps = found.maps(feed.values([prepare(survey.stored(name), self._card).tensor]))[0]
            kept = np.clip(maps[units], -65504, 65504).astype(np.float16).reshape(len(units), *found.grid)
            self._maps.update({(name, unit): one for unit, one in zip(units, kept, strict=True)})

    def over(self, example: Example, unit: int) -> NDArray[np.float32]:
        """The unit's values over the crop of an example, (CROP, CROP); NaN where the model does not see it."""
        import math

        from ....engine.preprocess.geometry import Geometry, place

        size = example.image.size
        whole, (y0, x0, y1, x1) = place(self._card, size), square_of(example.box, size)
        # The same plane in finer units, in which the crop's corner and sides are whole numbers.
        part = Geometry(
            (CROP, CROP),
            (whole.size[0] * size[0], whole.size[1] * size[1]),
            ((y1 - y0) * whole.resized[0], (x1 - x0) * whole.resized[1]),
            (y0 * whole.resized[0] + whole.offset[0] * size[0], x0 * whole.resized[1] + whole.offset[1] * size[1]),
        )
        return part.to_image(self._maps[example.image.name, unit], fill=math.nan)


def heats(
    survey: Survey, found: Heats, layer: SiteLayer, units: Sequence[int], tiles: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """`tiles` of `crops`, with the heat of the units over them."""
    from ....engine.top import Look
    from ...figures.top import heated

    assert survey.top is not None
    drawn: NDArray[np.uint8] = tiles.copy()
    for row, unit in enumerate(units):
        for place, example in enumerate(survey.top.strongest(layer.name, unit)[:BEST]):
            at = row * BEST + place
            drawn[at] = heated(Look(example, tiles[at], found.over(example, unit)))
    return drawn
