"""Boxes of detectors: entries of images, what is printed, the table and the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures.box_shapes import LEAST
from ..files.rle import to_rle
from ..sources.share import names_of
from ..terminal.echo import one_line
from .over_images import Entry, ReadImage

if TYPE_CHECKING:
    from ...engine.detection.detections import Detection, Detections
    from ...engine.detection.table import Table
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card
    from ..files.run import Run
    from ..sources.registry import Images
    from .predict import PredictOptions

COLUMNS = ("image", "rank", "class", "label", "score", "y0", "x0", "y1", "x1", "candidate", "element")


class BoxPrediction:
    """Images in, entries of the manifest out; with a run, a picture of each image's boxes."""

    def __init__(
        self, model: Model, card: Card, table: Table, options: PredictOptions, run: Run | None, images: Images
    ) -> None:
        self.model, self.card, self.table, self.options, self.run = model, card, table, options, run
        # Known beforehand: what a picture is called depends neither on images that fail nor on how a run is cut.
        names = images.names or names_of(images.paths, picture_name)
        self._names = dict(zip(images.paths, names, strict=True))

    def size(self) -> int:
        """How many images run together."""
        return self.options.batch if self.card.batched else 1

    def several(self, images: Sequence[ReadImage]) -> list[Entry]:
        """The entries of images, in order."""
        from ...engine.attribution.inputs import input_of
        from ...engine.inference.batches import RunOptions
        from ...engine.predict import boxes_of

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        given = input_of(self.model, [image.pixels for image in images], self.card)
        found = boxes_of(self.model, self.table, given, runtime)
        return [self._entry(image, boxes) for image, boxes in zip(images, found, strict=True)]

    def _entry(self, image: ReadImage, found: Detections) -> Entry:
        from ...engine.preprocess.depth import shown
        from ..figures.boxes import drawn
        from ..files.run import done

        files = []
        if self.run is not None:
            picture = drawn(shown(image.pixels, self.card), list(found))
            name = self._names.get(image.path) or self.run.name(picture_name(image.path))
            files = [self.run.picture(name, picture)]
        size: tuple[int, ...] = image.pixels.shape[:2]
        boxes = [
            {**entry, **({} if box.mask is None else {"mask": to_rle(box.mask.pixels), "area": _area(box)})}
            for entry, box in zip(found.to_mapping(), found, strict=True)
        ]
        results: dict[str, Any] = {"boxes": boxes, "best": found.best}
        return done(image.path, image.sha256, size=size, files=files, **results)


def picture_name(path: Path) -> str:
    """What the picture of an image's boxes is called."""
    return f"{path.stem}-boxes.png"


def lines(found: Mapping[str, Any]) -> list[str]:
    """The boxes of an image as text: probability, class, place."""
    boxes = found["boxes"]
    if not boxes:
        return [f"  no box; the best candidate has {100 * found['best']:.2f} %"]
    return [line for box in boxes for line in _told(box)]


def _told(box: Mapping[str, Any]) -> list[str]:
    """A box, the size of its mask, and its points where they are certain enough to be drawn."""
    area = f", mask of {box['area']} pixels" if "area" in box else ""
    edges = ",".join(f"{edge:.0f}" for edge in box["box"])
    points = [p for p in box.get("points", ()) if not p.get("score", 1) < LEAST]
    told = [f"{p['name']} {p['y']:.0f},{p['x']:.0f}" for p in points]
    return [
        f"  {100 * box['score']:6.2f} %  {_name(box)}  at {edges}{area}",
        *(["            " + "; ".join(told)] if told else []),
    ]


def _area(box: Detection) -> int:
    return 0 if box.mask is None else int(np.count_nonzero(box.mask.pixels))


def rows(name: str, found: Mapping[str, Any]) -> list[list[Any]]:
    """The boxes of an image as rows of a table."""
    return [
        [name, rank, box["class"], box["label"] or "", box["score"], *box["box"], box["candidate"], box["element"]]
        for rank, box in enumerate(found["boxes"], 1)
    ]


def _name(box: Mapping[str, Any]) -> str:
    return f"class {box['class']}" if box["label"] is None else one_line(box["label"])
