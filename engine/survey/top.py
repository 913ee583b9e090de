"""The result of a survey for the strongest images: frozen, saved and loaded, two of them merged to one.

On disk it is a folder with two files, which hold nothing that depends on the time, the order of the images or how they
were cut into shards:

    manifest.json   format, kind "top", model, card, options, count, classes, layers, images (by id, ascending)
    top.npz         arrays by name, N the number of the layer:
        sample                    int64 (S,), ids of the images sampled, ascending
        N.strongest.scores        float32 (units, k), highest first; .ids int64, -1 for none; .places int32, cells
        N.weakest.scores          the same of the lowest values, with the opposite sign
        N.sample.scores           float32 (S, units), the highest value in each sampled image; .places int32
        N.statistics.NAME         see `UnitStatistics`; means and squares as (units, 11), exact sums
        N.classes                 int64 (classes, units, 11), exact sums of the highest values above 0
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.topk import TopK
from ..errors import MethodError, TargetError, UnknownName
from ..preprocess.card import Card
from ..preprocess.geometry import place
from .layer_top import LayerTop, arrays_of, from_arrays, merge_layers, sample_of, sub_arrays
from .pictures import ImageEntry, first_of
from .store import read_part, read_result, write_part, write_result
from .units import Box, UnitLayer

FORMAT = 1
QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Example:
    """An image next to a unit.

    Attributes: `value` of the unit at `place`, (y, x) in the layer's grid, () where it has one place; `image`; `box`
    (y0, x0, y1, x1) in the image's pixels, what the unit sees there; `quantile` where it stands for one.
    """

    value: float
    image: ImageEntry
    place: tuple[int, ...]
    box: Box
    quantile: float | None = None


@dataclass(frozen=True)
class Top:
    """The strongest and weakest images of every unit of some layers, and statistics of the units.

    Attributes: `layers` by name; `images` by id, those that are named anywhere; `sample`, ids of a random sample of
    the images, all of them where they are few; `count`, how many images were seen, duplicates included; `classes` and
    `class_counts`, labels of images by name; `labelled`, where these come from: "given", "predicted", ""; `model`, its
    sha256, and `name`; `card`; `options`.
    """

    layers: Mapping[str, LayerTop]
    images: Mapping[int, ImageEntry] = field(repr=False)
    sample: NDArray[np.int64] = field(repr=False)
    count: int
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    labelled: str = ""
    model: str = ""
    name: str = ""
    card: Card | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def layer(self, name: str | None = None) -> LayerTop:
        """The layer of that name; None: the only one, or the first. Raises UnknownName."""
        if name is None:
            return next(iter(self.layers.values()))
        if name not in self.layers:
            raise UnknownName("layer of this result", name, list(self.layers))
        return self.layers[name]

    def strongest(self, layer: str | None, unit: int) -> tuple[Example, ...]:
        """The images that excite a unit most, strongest first. Raises UnknownName, TargetError (no such unit)."""
        found = self.layer(layer)
        return self._examples(found, found.strongest, unit, 1)

    def weakest(self, layer: str | None, unit: int) -> tuple[Example, ...]:
        """The images with the lowest value of a unit at any place, lowest first. Raises UnknownName, TargetError."""
        found = self.layer(layer)
        return self._examples(found, found.weakest, unit, -1)

    def quantiles(self, layer: str | None, unit: int, shares: Sequence[float] = QUANTILES) -> tuple[Example, ...]:
        """Images of the sample in which the highest value of a unit is at these quantiles, 0 to 1, of all images.

        Raises UnknownName, TargetError (no such unit, a share outside 0 to 1).
        """
        found = self.layer(layer)
        values = found.sample[:, _checked(found, unit)]
        if any(not 0 <= share <= 1 for share in shares):
            raise TargetError(f"quantiles are shares from 0 to 1, got {list(shares)}")
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.lexsort((self.sample[known], values[known]))]
        if not len(order):
            return ()
        rows = [int(order[round(share * (len(order) - 1))]) for share in shares]
        return tuple(
            replace(
                self._example(found, float(values[r]), int(self.sample[r]), int(found.sample_places[r, unit])),
                quantile=float(share),
            )
            for r, share in zip(rows, shares, strict=True)
        )

    def mean(self, layer: str | None = None) -> NDArray[np.float64]:
        """(units,): the mean over all images and places. Raises UnknownName."""
        return self.layer(layer).statistics.means.values() / max(1, self.count)

    def std(self, layer: str | None = None) -> NDArray[np.float64]:
        """(units,): the standard deviation over all images and places. Raises UnknownName."""
        squares = self.layer(layer).statistics.squares.values() / max(1, self.count)
        return np.asarray(np.sqrt(np.maximum(0, squares - self.mean(layer) ** 2)))

    def class_means(self, layer: str | None = None) -> NDArray[np.float64]:
        """(classes, units): the mean over a class's images of the unit's highest value, those below 0 taken as 0.

        Raises UnknownName.
        """
        found = self.layer(layer)
        sums = [part.values() for part in found.classes]
        counts = np.maximum(1, np.array(self.class_counts, np.float64))
        return np.array(sums).reshape(len(sums), found.layer.units) / counts[: len(sums), None]

    def selectivity(self, layer: str | None = None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(units,) each: the class that a unit answers to most, and how selective it is for it, 0 to 1.

        The index is (a - b) / (a + b) of the class's mean a and the mean b of the means of all other classes (A. Morcos
        et al., "On the importance of single directions for generalization", 2018); -1 and 0 with fewer than two
        classes, and for units that no class excites.
        """
        means = self.class_means(layer)
        units = self.layer(layer).layer.units
        if len(means) < 2:
            return np.full(units, -1, np.int64), np.zeros(units)
        best = means.argmax(axis=0)
        most = means.max(axis=0)
        rest = (means.sum(axis=0) - most) / (len(means) - 1)
        index = np.divide(most - rest, most + rest, out=np.zeros(units), where=most + rest > 0)
        return np.where(most > 0, best, -1).astype(np.int64), index

    def save(self, dir: str | Path) -> dict[str, Path]:
        """Write `top.npz`, then `manifest.json`, each whole or not at all. Returns the paths. Raises OutputError."""
        return write_result(Path(dir), "top", self.manifest(), self.arrays())

    def manifest(self) -> dict[str, Any]:
        """All but the arrays, as JSON-like data."""
        return {
            "format": FORMAT,
            "kind": "top",
            "model": {"name": self.name, "sha256": self.model},
            "options": dict(self.options),
            "card": None if self.card is None else json.loads(json.dumps(self.card.to_mapping(), default=str)),
            "count": self.count,
            "labelled": self.labelled,
            "classes": [{"name": n, "count": c} for n, c in zip(self.classes, self.class_counts, strict=True)],
            "layers": [found.layer.to_mapping() for found in self.layers.values()],
            "images": [vars(self.images[key]) for key in sorted(self.images)],
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of `top.npz`, see the head of `engine/survey/top.py`."""
        found: dict[str, NDArray[Any]] = {"sample": self.sample}
        for n, layer in enumerate(self.layers.values()):
            found |= {f"{n}.{name}": array for name, array in arrays_of(layer).items()}
        return found

    def _examples(self, found: LayerTop, best: TopK, unit: int, sign: int) -> tuple[Example, ...]:
        _checked(found, unit)
        rows = zip(best.scores[unit], best.ids[unit], best.places[unit], strict=True)
        return tuple(self._example(found, sign * float(v), int(i), int(p)) for v, i, p in rows if i >= 0)

    def _example(self, found: LayerTop, value: float, id: int, at: int) -> Example:
        image = self.images[id]
        whole = (0.0, 0.0, float(image.size[0]), float(image.size[1]))
        box = whole if self.card is None else found.layer.box(at, place(self.card, image.size))
        return Example(value, image, found.layer.cell(at), box)


def _checked(found: LayerTop, unit: int) -> int:
    if not 0 <= unit < found.layer.units:
        raise TargetError(f"the layer {found.layer.name!r} has units 0 to {found.layer.units - 1}, not {unit}")
    return unit


def save_part(top: Top, path: Path, done: Mapping[str, Any]) -> None:
    """An unfinished result in one file; `done` says how far it is, as JSON-like data. Raises OutputError."""
    write_part(path, top.manifest(), top.arrays(), done)


def load_part(path: Path) -> tuple[Top, dict[str, Any]] | None:
    """What `save_part` wrote; None where there is nothing that can be read."""
    return read_part(path, "top", FORMAT, _from_saved)


def load_top(dir: str | Path) -> Top:
    """What `Top.save` wrote. Raises OutputError for a folder without such a result, or a damaged one."""
    return read_result(Path(dir), "top", FORMAT, _from_saved)


def merge_tops(parts: Sequence[Top]) -> Top:
    """The result over all images of `parts`, the same to the last bit as that of one run over them all.

    Images that several parts have are among the strongest once; statistics count them as often as they were seen.
    Raises MethodError where the parts are of different models, layers or options, or there is none.
    """
    if not parts:
        raise MethodError("there is no result to merge: give two or more")
    first = parts[0]
    for other in parts[1:]:
        for what, mine, theirs in _decisive(first, other):
            if mine != theirs:
                raise MethodError(f"the results cannot be merged: they are of different {what}")
    names = sorted({name for part in parts for name in part.classes})
    sample = sample_of([part.sample for part in parts], int(first.options["sample"]))
    layers = {name: merge_layers([part.layers[name] for part in parts], parts, names, sample) for name in first.layers}
    images: dict[int, ImageEntry] = {}
    for part in parts:
        for key, entry in part.images.items():
            images[key] = first_of(images.get(key), entry)
    counts = [sum(dict(zip(p.classes, p.class_counts, strict=True)).get(name, 0) for p in parts) for name in names]
    return replace(
        first,
        layers=layers,
        images=named(layers.values(), sample, images),
        sample=sample,
        count=sum(part.count for part in parts),
        classes=tuple(names),
        class_counts=tuple(counts),
    )


def named(
    layers: Iterable[LayerTop], sample: NDArray[np.int64], images: Mapping[int, ImageEntry]
) -> dict[int, ImageEntry]:
    """Of `images` those that a result names."""
    used = set(sample.tolist())
    for found in layers:
        used |= set(found.strongest.ids.ravel().tolist()) | set(found.weakest.ids.ravel().tolist())
    return {key: images[key] for key in sorted(used) if key >= 0}


def _decisive(first: Top, other: Top) -> list[tuple[str, Any, Any]]:
    return [
        ("models", first.model, other.model),
        ("layers", _described(first), _described(other)),
        ("options", dict(first.options), dict(other.options)),
        ("preprocessing", first.card, other.card),
        ("labels (folders, predictions)", first.labelled, other.labelled),
    ]


def _described(top: Top) -> list[dict[str, Any]]:
    return [found.layer.to_mapping() for found in top.layers.values()]


def _from_saved(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Top:
    layers = [UnitLayer.from_mapping(entry) for entry in manifest["layers"]]
    images = [ImageEntry(**{**entry, "size": tuple(entry["size"])}) for entry in manifest["images"]]
    card = manifest["card"]
    return Top(
        layers={layer.name: from_arrays(layer, sub_arrays(arrays, n)) for n, layer in enumerate(layers)},
        images={entry.id: entry for entry in images},
        sample=arrays["sample"],
        count=int(manifest["count"]),
        classes=tuple(entry["name"] for entry in manifest["classes"]),
        class_counts=tuple(int(entry["count"]) for entry in manifest["classes"]),
        labelled=manifest["labelled"],
        model=manifest["model"]["sha256"],
        name=manifest["model"]["name"],
        card=None if card is None else Card.from_mapping(card),
        options=manifest["options"],
    )
