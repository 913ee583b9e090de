"""What images say of the units of a site: strongest images and crops, levels, histograms, likeness of units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...sources.share import names_digest
from ..saved_pass import Saving
from .plan import SHEET, SiteLayer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....engine.errors import ImageError
    from ....engine.graph.model import Model
    from ....engine.inference.batches import RunOptions
    from ....engine.preprocess.card import Card
    from ....engine.survey.pictures import Picture
    from ....engine.survey.scan import Scan
    from ....engine.survey.top import Example, Top

# Images shown of a unit; levels between the weakest and the strongest image; sides of their tiles.
BEST, LEVELS, CROP, THUMB = 9, (0.0, 0.25, 0.5, 0.75, 1.0), 64, 96
# Units most like another that are named, columns of histograms.
_ALIKE, BINS = 6, 20
# Images below which likeness of units is no more than chance.
LEAST_IMAGES = 8


@dataclass
class Survey:
    """One pass over images, saved in the file `part` on its way.

    Attributes: `top` is None while nothing was found, or the time was over; `at`, how many files have been looked at;
    `was_whole`, whether an earlier run has looked at all of them.
    """

    files: Sequence[tuple[Path, str | None]]
    part: Path
    top: Top | None = None
    at: int = 0
    was_whole: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    _of: str = field(default="", repr=False)
    _strongest: dict[int, tuple[Example, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for path, _ in self.files:
            name = path.name
            while name in self.paths:
                name = f"{name} "
            self.paths[name] = path

    def run(
        self,
        model: Model,
        layers: Sequence[SiteLayer],
        runtime: RunOptions,
        on_image: Callable[[str], None],
        late: Callable[[], bool],
    ) -> None:
        """Survey the images, from where an earlier run was cut off. Raises ImageError when none of them can be read."""

        names = [layer.name for layer in layers if _has_units(model, layer)]
        if not names:
            self.at = len(self.files)
            return
        scan = self._scan(model, names, runtime)
        before, places, saving = scan.count, list[int](), Saving(lambda: self._save(scan))
        for count in scan.run(self._pictures(scan.card, places)):
            self.at = places[count - before - 1] + 1
            on_image(f"{count} images")
            if late() and self.at < len(self.files):
                saving.now()
                return
            saving.if_due()
        self.was_whole, self.at = before > 0 and not places, len(self.files)
        if not scan.count:
            raise _none_of(len(self.files), next(iter(self.failures.values())))
        if not self.was_whole:
            saving.now()  # what is made of it may take longer than the time that is left
        self.top = scan.result()

    def _scan(self, model: Model, names: Sequence[str], runtime: RunOptions) -> Scan:
        """The pass, as far as the saved part has it, if that is of the same images, model and layers."""
        from ....engine.errors import MethodError
        from ....engine.survey.scan import Scan, ScanOptions
        from ....engine.survey.top import load_part

        given = any(label is not None for _, label in self.files)
        options = ScanOptions(k=BEST, labels="given" if given else "none")
        earlier = load_part(self.part)
        if earlier is not None and earlier[1].get("names_sha256") == names_digest(self.files):
            try:
                scan = Scan(model, names, options, runtime, earlier[0])
            except MethodError:  # of another run that --force has replaced
                return Scan(model, names, options, runtime)
            self.at, self.failures = int(earlier[1]["at"]), dict(earlier[1]["failures"])
            return scan
        return Scan(model, names, options, runtime)

    def _save(self, scan: Scan) -> None:
        from ....engine.survey.top import save_part

        seen = {str(path) for path, _ in self.files[: self.at]}
        failures = {path: text for path, text in self.failures.copy().items() if path in seen}
        done = {"at": self.at, "names_sha256": names_digest(self.files), "failures": failures}
        save_part(scan.result(), self.part, done)

    def _pictures(self, card: Card | None, places: list[int]) -> Iterator[Picture]:
        """The files still to be looked at, decoded, their places put into `places`; those that cannot be read are kept
        as failures. Names are without folders."""
        from ....engine.errors import ImageError
        from ....engine.survey.pictures import Picture
        from ...files.photos import read_photo

        names = list(self.paths)
        for place in range(self.at, len(self.files)):
            path, label = self.files[place]
            try:
                pixels = read_photo(path, card)
            except (ImageError, MemoryError) as error:
                self.failures[str(path)] = " ".join(str(error).split()) or "there is not enough memory for it"
                continue
            places.append(place)
            yield Picture(names[place], pixels, label)

    def strongest(self, layer: str, unit: int) -> tuple[Example, ...]:
        """The images of a unit that are shown, strongest first; those of the last layer asked for are kept."""
        assert self.top is not None
        if layer != self._of:
            self._of, self._strongest = layer, {}
        if unit not in self._strongest:
            self._strongest[unit] = self.top.strongest(layer, unit)[:BEST]
        return self._strongest[unit]

    def stored(self, name: str) -> NDArray[Any]:
        """An image as the model takes it, again. Raises ImageError."""
        from ...files.photos import read_photo

        return read_photo(self.paths[name], None if self.top is None else self.top.card)

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """What of an image is looked at, uint8 (H, W, 3). Raises ImageError."""
        from ...files.photos import read_shown

        return read_shown(self.paths[name], None if self.top is None else self.top.card)


def check_readable(files: Sequence[tuple[Path, str | None]], card: Card | None) -> None:
    """Raises ImageError where none of the images can be read; the first that can be is the last that is tried."""
    from ....engine.errors import ImageError
    from ...files.photos import read_photo

    first = ""
    for path, _ in files:
        try:
            read_photo(path, card)
        except (ImageError, MemoryError) as error:
            first = first or " ".join(str(error).split())
        else:
            return
    raise _none_of(len(files), first)


def _none_of(count: int, first: str) -> ImageError:
    from ....engine.errors import ImageError

    return ImageError(f"none of the {count} images can be read; the first: {first}")


def _has_units(model: Model, layer: SiteLayer) -> bool:
    """Whether the survey can read the layer, and counts the same units."""
    from ....engine.errors import OnnxrayError
    from ....engine.survey.scan import sized
    from ....engine.survey.units import unit_layers

    try:
        (found,) = unit_layers(sized(model)[0], [layer.name])
    except OnnxrayError:
        return False
    return found.units == layer.count


def image_list(top: Top) -> list[dict[str, Any]]:
    """The images that the result names, in the order of their contents; places in it stand for them on pages."""
    return [
        {"name": entry.name.rstrip(), "label": entry.label, "size": list(entry.size), "sha256": entry.sha256}
        for _, entry in sorted(top.images.items())
    ]


def thumbs(survey: Survey) -> Iterator[tuple[str, NDArray[np.uint8], dict[str, Any]]]:
    """Sheets of all images named: (file, tiles, record)."""
    import numpy as np

    assert survey.top is not None
    entries = [entry for _, entry in sorted(survey.top.images.items())]
    for first in range(0, len(entries), 4 * SHEET):
        part = entries[first : first + 4 * SHEET]
        tiles = np.stack([squared(survey.pixels(entry.name), THUMB) for entry in part])
        yield f"images/thumbs-{first // (4 * SHEET)}.jpg", tiles, {"first": first}


def squared(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole image in a square, gray around it."""
    import numpy as np

    from ....kernels.resize import resize

    height, width = inside(pixels.shape[:2], side)
    tile = np.full((side, side, 3), 128, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    tile[top : top + height, left : left + width] = resize(np.ascontiguousarray(pixels), (height, width))
    return tile


def inside(size: Sequence[int], side: int) -> tuple[int, int]:
    """The size of an image whose longer side is `side`."""
    share = side / max(size)
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def numbers_of(top: Top, layer: SiteLayer) -> dict[str, Any]:
    """What is known of every unit, as JSON-like data, and of the layer."""
    import numpy as np

    found, places = top.layers[layer.name], {key: place for place, key in enumerate(sorted(top.images))}
    statistics, mean, std = found.statistics, top.mean(layer.name), top.std(layer.name)
    alike = _alike(found.sample)
    units = {}
    for unit in layer.units:
        units[str(unit)] = {
            "mean": float(mean[unit]),
            "std": float(std[unit]),
            "highest": float(statistics.highest[unit]),
            "lowest": float(statistics.lowest[unit]),
            "firing": int(statistics.firing[unit]),
            "histogram": _histogram(found.sample[:, unit]),
            "strongest": [_shown(e, places) for e in top.strongest(layer.name, unit)[:BEST]],
            "weakest": [_shown(e, places) for e in top.weakest(layer.name, unit)[:5]],
            "levels": [_shown(e, places) for e in top.quantiles(layer.name, unit, LEVELS)],
            "alike": _most_alike(alike, unit),
        }
    dead = [unit for unit in layer.units if statistics.highest[unit] <= 0]
    always = [unit for unit in layer.units if statistics.firing[unit] == top.count]
    return {
        "images": top.count,
        "units": units,
        "dead": dead,
        "always": always,
        "twins": _twins(alike, layer.units),
        "rank": _rank(np.asarray(found.sample, np.float64)[:, list(layer.units)]),
    }


def _shown(example: Example, places: Mapping[int, int]) -> dict[str, Any]:
    """The place of its image in the list, the value, and the box as shares of the image."""
    (height, width), box = example.image.size, example.box
    shares = [box[0] / height, box[1] / width, box[2] / height, box[3] / width]
    found: dict[str, Any] = {"image": places[example.image.id], "value": example.value}
    return {**found, "box": [round(share, 4) for share in shares]}


def _histogram(values: NDArray[np.float32]) -> dict[str, Any]:
    import numpy as np

    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return {"low": 0.0, "high": 0.0, "counts": []}
    low, high = float(known.min()), float(known.max())
    counts, _ = np.histogram(known, BINS, (low, high if high > low else low + 1))
    return {"low": low, "high": high, "counts": counts.tolist()}


def _alike(sample: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Correlations of units over images; None where there are too few to say anything."""
    import numpy as np

    values = np.asarray(sample, np.float64)
    if len(values) < LEAST_IMAGES or not np.isfinite(values).all():
        return None
    centred = values - values.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    scaled = np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-12)
    found = scaled.T @ scaled
    np.fill_diagonal(found, 0)
    return np.asarray(found)


def _most_alike(alike: NDArray[np.float64] | None, unit: int) -> list[list[float]]:
    import numpy as np

    if alike is None:
        return []
    order = np.argsort(-np.abs(alike[unit]), kind="stable")[:_ALIKE]
    return [[int(other), round(float(alike[unit, other]), 3)] for other in order if alike[unit, other]]


# From this correlation on two units are the same.
_SAME = 0.99


def _twins(alike: NDArray[np.float64] | None, units: Sequence[int]) -> list[list[int]]:
    """Pairs of units that do the same."""
    import numpy as np

    if alike is None:
        return []
    pairs = zip(*np.nonzero(np.triu(alike > _SAME)), strict=True)
    mine = set(units)
    return [[int(a), int(b)] for a, b in pairs if int(a) in mine and int(b) in mine]


def _rank(values: NDArray[np.float64]) -> float | None:
    """Participation ratio of the covariance: by how many directions units vary over images."""
    import numpy as np

    if len(values) < LEAST_IMAGES or not np.isfinite(values).all():
        return None
    centred = values - values.mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False) ** 2
    total = float((spread**2).sum())
    return float(spread.sum() ** 2 / total) if total else 0.0
