"""`Novelty`: what the good images of a product look like to a model, made once, saved in one file, asked about others.

The file is an .npz of arrays: `head`, UTF-8 JSON of all but arrays; `scorer.NAME`, those of the scorer; `projection`
where features are projected; `crops`, uint8 (M, S, S, 3), what the rows of the memory look like. It holds no path.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from ..atomic import atomic
from ..errors import CardError, ModelError, OnnxrayError, OutputError, ShapeError
from ..graph.model import Model, Source
from ..graph.narrow import HALF, identity
from ..inference.batches import RunOptions
from ..load import load
from ..preprocess.answers import answer_of
from ..preprocess.card import ANSWER_FIELDS, OPTION_FIELDS, Card
from ..preprocess.geometry import Geometry, place
from ..preprocess.image import prepare
from ..survey.pictures import Picture, check_picture, pictures_of
from ..survey.scan import Feed, sized
from ..survey.units import unit_layers
from ..targets.classify import Guess, best
from .calibration import Calibration
from .features import Features
from .scorers.registry import Fitted, find_scorer

FORMAT = 1
_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, IndexError, CardError, zipfile.BadZipFile)
# Fields of a card that say how pixels become a tensor: what a memory is tied to.
PREPARED = tuple(name for name in OPTION_FIELDS if name not in ANSWER_FIELDS)


@dataclass(frozen=True, eq=False)
class NoveltyScore:
    """How unlike the good images one image is.

    Attributes:
        score: the greatest distance of a place, or that of the whole image. threshold: of the memory.
        grid: float32 (h, w), the distances of the places; None for methods that score whole images.
        geometry: where the model's plane lies on the image.
        row: the number of the nearest row of the memory there, None where there are no rows.
        answer: the model's most probable class, None where it has no classes.
        name: of the image. warnings: what speaks against relying on the score.
    """

    score: float
    threshold: float
    grid: NDArray[np.float32] | None
    geometry: Geometry
    row: int | None
    answer: Guess | None
    name: str
    warnings: tuple[str, ...] = ()

    @property
    def novel(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    @property
    def map(self) -> NDArray[np.float32] | None:
        """float32 (H, W): the distances on the image's pixels, bilinear; None where there is one for all."""
        return None if self.grid is None else self.geometry.to_image(self.grid)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """(H, W): where the map is above the threshold; None where there is no map."""
        found = self.map
        return None if found is None else found > self.threshold

    @property
    def place(self) -> tuple[int, int] | None:
        """(y, x) in the grid of the greatest distance; None where there is no grid."""
        if self.grid is None:
            return None
        y, x = np.unravel_index(int(self.grid.argmax()), self.grid.shape)
        return int(y), int(x)

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(y0, x0, y1, x1): that place in pixels of the image, the ends not included; None likewise."""
        return None if self.grid is None or self.place is None else cell_box(self.place, self.grid.shape, self.geometry)


# The probability from which on a classifier is called sure.
_SURE = 0.8


def verdict(found: NoveltyScore) -> str:
    """What a score says next to the classifier's answer, in one line."""
    answer = found.answer
    if not found.novel:
        return "like the good images"
    if answer is None or answer.probability < _SURE:
        return "unlike the good images"
    name = answer.label or f"class {answer.index}"
    return f"sure ({name}, {100 * answer.probability:.0f} %), but unlike anything seen: do not trust the label"


@dataclass(frozen=True, eq=False)
class Novelty:
    """What good images look like to a model: made by `fit`, asked by `score`.

    Attributes: `model`; `card`, how images are prepared; `features`, which layers and why; `method`, the scorer's name,
    and `fitted`, what it knows; `calibration`, the threshold and how sure it is; `seed`; `size`, (height, width) of the
    good images, None where they differ; `names` of images that rows of the memory come from, by number; `crops`, uint8
    (M, S, S, 3), what these rows look like, None where there are none.
    """

    model: Model = field(repr=False)
    card: Card = field(repr=False)
    features: Features = field(repr=False)
    method: str
    fitted: Fitted = field(repr=False)
    calibration: Calibration
    seed: int
    size: tuple[int, int] | None
    names: Mapping[int, str] = field(repr=False)
    crops: NDArray[np.uint8] | None = field(repr=False)
    runtime: RunOptions = field(default_factory=RunOptions, repr=False)

    def score(self, images: Any, *, progress: Callable[[int], None] | None = None) -> Any:
        """How unlike the good images others are: a NoveltyScore of one image, a list of them for several.

        images: uint8 (H, W, 3) RGB or (H, W), or what else the model's card reads; a `Picture`; or an iterable of
        these. progress: called with how many are done.

        Raises ShapeError (something that is no image, or no image at all), ModelError.
        """
        one = isinstance(images, (np.ndarray, Picture))
        found = list(self.scores([images] if one else images, progress))
        if not found:
            raise ShapeError("there is no image: give at least one")
        return found[0] if one else found

    def scores(self, images: Iterable[Any], progress: Callable[[int], None] | None = None) -> Iterable[NoveltyScore]:
        """The same, batch by batch, as images come. Raises as `score` does."""
        reader = Reader(self.model, self.card, self.features, self.runtime, answer=True)
        done = 0
        for batch, features, answers in reader.run(pictures_of(images)):
            found = self.fitted.distances(features)
            for n, picture in enumerate(batch):
                done += 1
                at = int(found.values[n].argmax())
                size = (picture.pixels.shape[0], picture.pixels.shape[1])
                yield NoveltyScore(
                    float(found.values[n, at]),
                    self.calibration.threshold,
                    found.values[n].reshape(self.features.grid) if self.fitted.local else None,
                    place(self.card, size),
                    None if found.nearest is None else int(found.nearest[n, at]),
                    answers[n],
                    picture.name,
                    self._doubts(size),
                )
            if progress is not None:
                progress(done)

    def source_of(self, row: int) -> tuple[str, tuple[int, int]]:
        """Of a row of the memory, the name of its good image and its place (y, x) in the grid."""
        assert self.fitted.sources is not None
        image, at = self.fitted.sources[row].tolist()
        y, x = divmod(at, self.features.grid[1])
        return self.names[image], (y, x)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the memory, whole or not at all. Returns the path. Raises OutputError."""
        target = Path(path)
        arrays = {f"scorer.{name}": array for name, array in self.fitted.arrays().items()}
        if self.features.projection is not None:
            arrays["projection"] = self.features.projection
        if self.crops is not None:
            arrays["crops"] = self.crops
        head = json.dumps(self.head(), ensure_ascii=False).encode("utf-8", "surrogateescape")
        with atomic(target) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, head=np.frombuffer(head, np.uint8), **arrays)  # type: ignore[arg-type]
        return target

    def head(self) -> dict[str, Any]:
        """All but the arrays, as JSON-like data."""
        plain = {name: value for name, value in self.card.to_mapping().items() if name in PREPARED}
        return {
            "format": FORMAT,
            "kind": "novelty",
            "model": {"name": self.model.path.name if self.model.path else "model", "sha256": identity(self.model)},
            "method": self.method,
            "layers": [layer.name for layer in self.features.layers],
            "layer_reason": self.features.reason,
            "grid": list(self.features.grid),
            "dimensions": self.features.width,
            "seed": self.seed,
            "size": None if self.size is None else list(self.size),
            "card": json.loads(json.dumps(plain, default=str)),
            "calibration": {**vars(self.calibration), "interval": list(self.calibration.interval)},
            "names": {str(number): name for number, name in sorted(self.names.items())},
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Source, **runtime: Any) -> Novelty:
        """What `save` wrote, for the model that it was made with, converted to float16 if that one was.

        runtime: `providers`, `threads`, `batch`.

        Raises OutputError (no such file, or no memory), ModelError (a memory of another model), CardError.
        """
        head, arrays = _read(Path(path))
        given = load(model, half=str(head["model"]["sha256"]).endswith(HALF))
        check_model(repr(os.fspath(path)), head["model"]["name"], head["model"]["sha256"], given)
        return _made(cls, head, arrays, load(given, **head["card"]), RunOptions(**runtime), os.fspath(path))

    def _doubts(self, size: tuple[int, int]) -> tuple[str, ...]:
        if self.size is None or size == self.size:
            return ()
        (h, w), (good_h, good_w) = size, self.size
        return (
            f"the image has {w}x{h} pixels, all good ones had {good_w}x{good_h}: what is novel may be the size alone; "
            "give images of the same size",
        )


class Reader:
    """Runs the model over pictures, prepared ahead, and reads features and answers."""

    def __init__(
        self, model: Model, card: Card, features: Features, runtime: RunOptions, *, answer: bool = False
    ) -> None:
        self.card, self.features = card, features
        self.answer = _answer(model) if answer else None
        self.feed = Feed(model, card, [*features.read, *([self.answer.value] if self.answer else [])], runtime)

    def run(
        self, pictures: Iterable[Picture]
    ) -> Iterable[tuple[list[Picture], NDArray[np.float32], list[Guess | None]]]:
        """Batch by batch: the pictures, their features (N, P, D), the model's answers. Raises ShapeError."""
        batch: list[Picture] = []
        for picture in pictures:
            check_picture(picture, self.card)
            batch.append(picture)
            if len(batch) == self.feed.size:
                yield self._one(batch)
                batch = []
        if batch:
            yield self._one(batch)

    def _one(self, batch: list[Picture]) -> tuple[list[Picture], NDArray[np.float32], list[Guess | None]]:
        values = self.feed.values([prepare(picture.pixels, self.card).tensor for picture in batch])
        features = self.features.of(values)
        if not np.isfinite(features).all():
            raise ModelError(
                f"the features of {batch[0].name!r} or an image next to it are not finite numbers: name other layers"
            )
        if self.answer is None:
            return batch, features, [None] * len(batch)
        guesses = best(values[self.answer.value], self.answer, self.card.labels, 1, finite=False)
        return batch, features, [guess[0] for guess in guesses]


def _answer(model: Model) -> Any:
    try:
        answer = answer_of(model)
    except OnnxrayError:  # a model that answers with no classes has features all the same
        return None
    return answer if answer.has_classes else None


def cell_box(at: tuple[int, int], grid: tuple[int, ...], geometry: Geometry) -> tuple[int, int, int, int]:
    """(y0, x0, y1, x1): the pixels of the image that lie in a cell (y, x) of a grid over the model's plane."""
    step = np.divide(geometry.size, grid)
    (y0, x0), (y1, x1) = (geometry.to_original(np.add(at, k) * step) for k in (0, 1))
    height, width = geometry.original
    top, left = min(max(int(y0), 0), height - 1), min(max(int(x0), 0), width - 1)
    return top, left, min(max(int(np.ceil(y1)), top + 1), height), min(max(int(np.ceil(x1)), left + 1), width)


# The side of a crop in pixels, and what part of the image's shorter side it shows.
CROP = 48
_SHARE = 0.2


def crop_at(shown: NDArray[np.uint8], at: tuple[float, float]) -> NDArray[np.uint8]:
    """uint8 (CROP, CROP, 3): a square of a picture (H, W, 3) about a point given as shares of its sides."""
    height, width = shown.shape[:2]
    side = max(1, min(height, width, round(_SHARE * min(height, width))))
    top = min(max(0, round(at[0] * height - side / 2)), height - side)
    left = min(max(0, round(at[1] * width - side / 2)), width - side)
    return np.asarray(resize(np.ascontiguousarray(shown[top : top + side, left : left + side]), (CROP, CROP)))


def check_model(what: str, name: str, known: str, model: Model) -> None:
    """Raises ModelError where a memory, called `what`, was made with another model: that of this name and identity."""
    mine = identity(model)
    if mine == known:
        return
    if mine.removesuffix(HALF) == known.removesuffix(HALF):
        made, runs = ("with", "without") if known.endswith(HALF) else ("without", "with")
        raise ModelError(f"{what} was made {made} half, and the model runs {runs} it: give half to both or neither")
    raise ModelError(
        f"{what} is a memory of another model, {name} (sha256 {known[:12]}...), than "
        f"{model.path.name if model.path else 'this one'} ({mine[:12]}...): make it anew with `onnxray novelty fit`"
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in packed.files}
        head = json.loads(arrays.pop("head").tobytes().decode("utf-8", "surrogateescape"))
        if (head["kind"], head["format"]) != ("novelty", FORMAT):
            raise ValueError(f"format {head['format']} of {head['kind']}")
    except FileNotFoundError:
        raise OutputError(f"there is no memory {str(path)!r}: make one with `onnxray novelty fit`") from None
    except _DAMAGED as error:
        raise OutputError(
            f"{str(path)!r} is no memory of `onnxray novelty fit` of format {FORMAT}, or it is damaged: make it anew"
        ) from error
    return head, arrays


def _made(
    cls: type[Novelty],
    head: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    model: Model,
    runtime: RunOptions,
    path: str,
) -> Novelty:
    model, card = sized(model)
    layers = unit_layers(model, head["layers"], before=False, plane=card.size)
    features = Features(tuple(layers), head["layer_reason"], arrays.get("projection"))
    if list(features.grid) != head["grid"] or features.width != head["dimensions"]:
        raise ModelError(f"{path!r} does not fit the layers of the model: make it anew with `onnxray novelty fit`")
    scorer = find_scorer(head["method"])
    own = {name.removeprefix("scorer."): array for name, array in arrays.items() if name.startswith("scorer.")}
    calibration = Calibration(**{**head["calibration"], "interval": tuple(head["calibration"]["interval"])})
    return cls(
        model,
        replace(card, source="", warnings=(), about={}),
        features,
        head["method"],
        scorer.from_arrays(own),
        calibration,
        head["seed"],
        None if head["size"] is None else tuple(head["size"]),
        {int(number): name for number, name in head["names"].items()},
        arrays.get("crops"),
        runtime,
    )
