"""Drift: how far images lie from those that a model was set up with, by the values of one layer.

Two measures, each the mean over the layer's units (channels):

- standardised mean difference, of one image: |m - M| / S; m is the mean of a unit's values over the image, M and S are
  mean and standard deviation of its values over all places of all images of the reference (Glass's delta: G. Glass,
  1976, Primary, secondary and meta-analysis of research). Units that are constant in the reference are left out.
- population stability index, of the last images together: sum over ten groups of (q - p) ln(q / p); p and q are the
  shares of the values that fall into a group in the reference and in the window, at least 1e-4 each (N. Siddiqi, 2006,
  Credit Risk Scorecards). The groups are the deciles of the reference, as far as histograms of 257 bins (see
  `kernels.histogram`) can be cut there: a bin belongs to the decile of its middle.

A reference on disk is a folder with `manifest.json` and `reference.npz`, whose arrays are `mean` and `deviation`
float64 (units,) and `histogram` int64 (units, bins); or one that `onnxray health` wrote.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.histogram import histogram
from ..errors import MethodError, ModelError, ShapeError, TargetError
from ..graph.model import Model
from ..graph.narrow import identity
from ..inference.batches import RunOptions
from ..preprocess.image import prepare
from ..survey.health import Health, load_health
from ..survey.measure import health_layers
from ..survey.scan import Feed, sized
from ..survey.store import kind_of, read_result, write_result
from ..survey.units import UnitLayer, unit_layers

FORMAT = 1
KIND = "reference"
# Images of a window.
WINDOW = 30
_GROUPS = 10
_LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Look:
    """A layer's values of one image: `mean` and `square` (of the values' squares) float64 (units,), over its places;
    `counts` int64 (units, bins), their histogram."""

    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Reference:
    """Statistics of a layer over images: `mean`, `deviation` float64 (units,) and `histogram` int64 (units, bins) of
    its values over all places of `count` images; `sha256` of the model, with `+half` behind it if it was converted.
    """

    layer: str
    sha256: str
    count: int
    mean: NDArray[np.float64] = field(repr=False)
    deviation: NDArray[np.float64] = field(repr=False)
    histogram: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of_health(cls, health: Health, layer: str | None = None) -> Reference:
        """Of what `onnxray.health` measured; layer: the first one by default. Raises UnknownName."""
        name = layer or next(iter(health.layers))
        found = health.layer(name)
        return cls(name, health.models[0].sha256, health.count, found.mean, found.std, found.after)

    def save(self, dir: str | Path) -> dict[str, Path]:
        """Write `reference.npz`, then `manifest.json`, each whole or not at all. Returns the paths. Raises
        OutputError."""
        about = {"format": FORMAT, "kind": KIND, "layer": self.layer, "sha256": self.sha256, "count": self.count}
        arrays = {"mean": self.mean, "deviation": self.deviation, "histogram": self.histogram}
        return write_result(Path(dir), KIND, about, arrays)


class Gathering:
    """Statistics of images that become a reference, one after the other."""

    def __init__(self, layer: str, sha256: str) -> None:
        self.layer, self.sha256, self.count = layer, sha256, 0

    def add(self, look: Look) -> None:
        """The next image."""
        if not self.count:
            self._mean, self._square, self._counts = look.mean.copy(), look.square.copy(), look.counts.copy()
        else:
            self._mean += look.mean
            self._square += look.square
            self._counts += look.counts
        self.count += 1

    def reference(self) -> Reference:
        """Of the images so far. Raises ShapeError where there is none."""
        if not self.count:
            raise ShapeError("a reference needs images: give at least one")
        mean = self._mean / self.count
        deviation = np.sqrt(np.maximum(0, self._square / self.count - mean**2))
        return Reference(self.layer, self.sha256, self.count, mean, deviation, self._counts)


def load_reference(dir: str | Path, layer: str | None = None) -> Reference:
    """What `Reference.save`, or `onnxray health --out`, wrote. Raises OutputError, UnknownName, MethodError."""
    if kind_of(Path(dir)) == "health":
        return Reference.of_health(load_health(dir), layer)
    found = read_result(Path(dir), KIND, FORMAT, _from_saved)
    if layer not in (None, found.layer):
        raise MethodError(f"the reference in {str(dir)!r} is of the layer {found.layer!r}, not of {layer!r}")
    return found


def _from_saved(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Reference:
    rows = (arrays[name] for name in ("mean", "deviation", "histogram"))
    return Reference(str(about["layer"]), str(about["sha256"]), int(about["count"]), *rows)


class Looking:
    """Looks at images: the statistics of one layer of a model, for any number of threads.

    layer: by default the first activation function, whose units see brightness, sharpness and texture.

    Raises UnknownName, TargetError (a layer without units), MethodError (no layer that can be measured), CardError,
    ModelError, ShapeError (a model with further inputs).
    """

    def __init__(self, model: Model, layer: str | None = None, runtime: RunOptions | None = None) -> None:
        self.sha256 = identity(model)
        self.model, self.card = sized(model)
        self.layer = _layer(self.model, layer, self.card.size)
        # A batch of one: else the model would run for many to look at one.
        self._feed = Feed(self.model, self.card, self.layer.read, replace(runtime or RunOptions(), batch=1))

    def on(self, runtime: RunOptions) -> Looking:
        """The same with other options of sessions."""
        return Looking(self.model, self.layer.name, runtime)

    def fits(self, reference: Reference) -> None:
        """Raises MethodError where a reference is of another model or layer."""
        if reference.sha256 != self.sha256:
            raise MethodError("the reference is of another model, or differs in half: make it anew with this one")
        if reference.layer != self.layer.name:
            raise MethodError(f"the reference is of the layer {reference.layer!r}, not of {self.layer.name!r}")

    def look(self, pixels: NDArray[Any]) -> Look:
        """The statistics of an image, uint8 (H, W, 3) RGB or what else the card reads. Raises what runs raise."""
        tensor = prepare(pixels, self.card, threads=1).tensor
        maps = self.layer.maps(self._feed.values([tensor]))
        values = maps[0].astype(np.float64)
        if not np.isfinite(values).all():
            raise ModelError(f"the layer {self.layer.name!r} has values that are not finite: its drift is not known")
        return Look(values.mean(axis=1), (values**2).mean(axis=1), histogram(maps, threads=1))


def _layer(model: Model, name: str | None, plane: tuple[int, int]) -> UnitLayer:
    """The layer of a name, by default the first that has units."""
    if name is not None:
        return unit_layers(model, [name], before=False, plane=plane)[0]
    for found in health_layers(model):
        try:
            return unit_layers(model, [found], before=False, plane=plane)[0]
        except (TargetError, ModelError):
            continue
    raise MethodError("the model has no layer that can be measured: name one")


@dataclass(frozen=True)
class Distance:
    """How far an image lies from the reference. smd: its standardised mean difference; psi: the population stability
    index of the window that ends with it, None until that is full.
    """

    smd: float
    psi: float | None


class Window:
    """The distances of images, one after the other, from a reference; the last `window` of them are judged together.

    For one thread. Raises ShapeError for a window of no image.
    """

    def __init__(self, reference: Reference, window: int = WINDOW) -> None:
        if window < 1:
            raise ShapeError(f"a window of {window} images cannot be measured: give at least 1")
        self.reference, self.window = reference, window
        self._last: deque[NDArray[np.int32]] = deque()
        self._together = np.zeros_like(reference.histogram)
        self._varies = reference.deviation > 0
        self._groups = _groups_of(reference.histogram)
        self._shares = _shares(reference.histogram, self._groups)

    def add(self, look: Look) -> Distance:
        """The next image. Raises MethodError where it was looked at in a layer with other units."""
        if look.counts.shape != self.reference.histogram.shape:
            raise MethodError(
                f"the reference has {len(self.reference.mean)} units of {self.reference.layer!r}, the image "
                f"{len(look.mean)}: make the reference anew with this model"
            )
        self._last.append(look.counts.astype(np.int32))
        self._together += look.counts
        if len(self._last) > self.window:
            self._together -= self._last.popleft()
        return Distance(self.smd(look), self.psi(self._together) if len(self._last) == self.window else None)

    def smd(self, look: Look) -> float:
        """The standardised mean difference of an image; 0 where all units are constant in the reference."""
        apart = np.abs(look.mean - self.reference.mean)[self._varies] / self.reference.deviation[self._varies]
        return float(apart.mean()) if len(apart) else 0.0

    def psi(self, counts: NDArray[np.int64]) -> float:
        """The population stability index of a histogram (units, bins)."""
        q, p = _shares(counts, self._groups), self._shares
        return float(((q - p) * np.log(q / p)).sum(axis=1).mean())


def _groups_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(units, bins): the decile that each bin of a unit belongs to, by the share of values below its middle."""
    total = np.maximum(1, counts.sum(axis=1, keepdims=True))
    below = (np.cumsum(counts, axis=1) - counts / 2) / total
    return np.asarray(np.minimum((below * _GROUPS).astype(np.int64), _GROUPS - 1))


def _shares(counts: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """(units, groups): the shares of the values in each group, at least 1e-4."""
    units = len(counts)
    places = (groups + _GROUPS * np.arange(units)[:, None]).ravel()
    found = np.bincount(places, counts.ravel(), _GROUPS * units).reshape(units, _GROUPS)
    shares = found / np.maximum(1, counts.sum(axis=1, keepdims=True))
    return np.asarray(np.maximum(shares, _LEAST_SHARE))
