"""A memory of good images: every fifth is held out, the others go to two halves, which together are the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from ..errors import MethodError, ShapeError, UnknownName
from ..graph.model import Model, Source
from ..inference.batches import RunOptions
from ..inspect.layers import Layer
from ..load import load
from ..preprocess.card import LOAD_OPTIONS, Card
from ..preprocess.depth import shown
from ..preprocess.geometry import place
from ..survey.pictures import Picture, pictures_of
from ..survey.scan import sized
from .calibration import calibrate, growth_of
from .features import Features, features_of
from .memory import Novelty, Reader, cell_box, crop_at
from .scorers.registry import Fitted, find_scorer

# Of so many images the last is held out, as long as there are few of these.
_EVERY = 5
_MOST_HELD_OUT = 500
# The longer side of pictures that crops are cut from.
_SIDE = 256


@dataclass
class _State:
    """What is gathered of the images so far."""

    halves: list[Any]
    held_out: list[NDArray[np.float32]] = field(default_factory=list)
    shown: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    images: int = 0
    count: int = 0

    def add(self, picture: Picture, features: NDArray[np.float32], card: Card) -> None:
        number = self.count
        self.count += 1
        height, width = picture.pixels.shape[:2]
        if len(self.sizes) < 2:
            self.sizes.add((height, width))
        if number % _EVERY == _EVERY - 1 and len(self.held_out) < _MOST_HELD_OUT:
            self.held_out.append(features)
            return
        self.halves[self.images % 2].add(features, number)
        self.images += 1
        self.names[number] = PurePath(picture.name).name
        self.shown[number] = _thumbnail(picture, card)
        if len(self.shown) % 64 == 0:
            self.forget()

    def forget(self) -> None:
        """Pictures that no row comes from any more go."""
        used = frozenset().union(*(half.images() for half in self.halves))
        self.shown = {number: shown for number, shown in self.shown.items() if number in used}
        self.names = {number: self.names[number] for number in self.shown}


def fit(
    model: Source,
    images: Iterable[Any],
    *,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    method: str = "whitened",
    rows: int = 300,
    dimensions: int | None = None,
    false_alarms: float = 0.05,
    seed: int = 0,
    batch: int | None = None,
    providers: Any = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    **card: Any,
) -> Novelty:
    """Learn what good images look like to a model, without training; any number of images, in bounded memory.

    images: good ones, as `onnxray.top` takes them; every fifth is held out and calibrates the threshold.
    layers: names of layers, modules or values that are maps, or `Layer`s; default: middle maps of two scales.
    method: "whitened" (distance to the nearest of some patches, in units of the spread of all), "patchcore" (the same
        in the features' own units), "padim" (a Gaussian at each place), "mahalanobis" or "knn" (of the means of all
        places: whole images).
    rows: the most patches that are kept. dimensions: wider features are projected to so many; default 256, of padim
        48. false_alarms: the share of good images that may be called novel. seed: of the projection.
    batch, providers, threads: how the model runs. progress: called with how many images are done.
    card: fields of the model card, as `load` takes them.

    Raises ShapeError (something that is no image, or too few), UnknownName (layer, method, option), MethodError (an
    option out of its range; a layer that is no map), TargetError, CardError, ModelError.
    """
    _check(rows, dimensions, false_alarms, card)
    scorer = find_scorer(method)
    ready, found = sized(load(model, **card))
    wide = dimensions or (48 if method == "padim" else 256)
    features = features_of(ready, layers, found.size, wide, seed)
    runtime = RunOptions(providers=providers, threads=threads, batch=batch)
    places = math.prod(features.grid)
    state = _State([scorer.gathered(places, features.width, rows) for _ in range(2)])
    reader = Reader(ready, found, features, runtime)
    for pictures, values, _ in reader.run(pictures_of(images)):
        for picture, value in zip(pictures, values, strict=True):
            state.add(picture, value, found)
        if progress is not None:
            progress(state.count)
    if not state.held_out or not state.halves[1].images():
        raise ShapeError(f"a memory takes {_EVERY} good images at least, and there are {state.count}: give more")
    return _memory(ready, found, features, (method, scorer), state, rows, false_alarms, seed, runtime)


def _check(rows: int, dimensions: int | None, false_alarms: float, card: dict[str, Any]) -> None:
    for name in card:
        if name not in LOAD_OPTIONS:
            own = ("layers", "method", "rows", "dimensions", "false_alarms", "seed", "batch", "providers", "threads")
            raise UnknownName("option of novelty", name, (*own, *LOAD_OPTIONS))
    if rows < 1 or (dimensions is not None and dimensions < 1):
        raise MethodError(f"rows={rows} and dimensions={dimensions} must be at least 1")
    if not 0 < false_alarms < 1:
        raise MethodError(f"false_alarms={false_alarms} must lie between 0 and 1: 0.05 is one good image of twenty")


def _memory(
    model: Model,
    card: Card,
    features: Features,
    method: tuple[str, Any],
    state: _State,
    rows: int,
    rate: float,
    seed: int,
    runtime: RunOptions,
) -> Novelty:
    name, scorer = method
    halves = [scorer.fitted([half], rows) for half in state.halves]
    whole = scorer.fitted(state.halves, rows)
    scores = _scores(whole, state.held_out)
    growth = growth_of(scores, [_scores(half, state.held_out) for half in halves])
    used = {int(number) for number in whole.sources[:, 0]} if whole.sources is not None else set()
    return Novelty(
        model,
        replace(card, source="", warnings=(), about={}),
        features,
        name,
        whole,
        calibrate(scores, rate, state.images, growth),
        seed,
        next(iter(state.sizes)) if len(state.sizes) == 1 else None,
        {number: state.names[number] for number in sorted(used)},
        _crops(whole, features.grid, state.shown, card),
        runtime,
    )


def _scores(fitted: Fitted, held_out: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.array([fitted.distances(one[None]).values.max() for one in held_out], np.float64)


def _crops(
    fitted: Fitted, grid: tuple[int, int], shown: dict[int, NDArray[np.uint8]], card: Card
) -> NDArray[np.uint8] | None:
    if fitted.sources is None:
        return None
    found = []
    for number, at in fitted.sources.tolist():
        picture = shown[number]
        size = (picture.shape[0], picture.shape[1])
        y0, x0, y1, x1 = cell_box(divmod(at, grid[1]), grid, place(card, size)) if fitted.local else (0, 0, *size)
        found.append(crop_at(picture, ((y0 + y1) / 2 / size[0], (x0 + x1) / 2 / size[1])))
    return np.stack(found)


def _thumbnail(picture: Picture, card: Card) -> NDArray[np.uint8]:
    found = shown(picture.pixels, card)
    factor = min(1.0, _SIDE / max(found.shape[:2]))
    size = (max(1, round(found.shape[0] * factor)), max(1, round(found.shape[1] * factor)))
    return np.asarray(found if factor == 1 else resize(found, size))
