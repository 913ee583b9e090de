"""What recognisers read: entries of images, what is printed, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..terminal.echo import one_line
from .over_images import Entry, ReadImage

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.predict import Prediction
    from ...engine.preprocess.card import Card
    from .predict import PredictOptions

COLUMNS = ("image", "text", "probability", "characters")


class ReadingPrediction:
    """Images of lines in, entries of the manifest out."""

    def __init__(self, model: Model, card: Card, options: PredictOptions) -> None:
        self.model, self.card, self.options = model, card, options

    def size(self) -> int:
        """How many images run together."""
        return self.options.batch if self.card.batched else 1

    def several(self, images: Sequence[ReadImage]) -> list[Entry]:
        """The entries of images, in order."""
        from ...engine.attribution.inputs import input_of
        from ...engine.inference.batches import RunOptions
        from ...engine.predict import texts_of
        from ..files.run import done

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        parts = [self.options.selection.part(image.pixels) for image in images]
        found = texts_of(self.model, input_of(self.model, parts, self.card), runtime)
        return [
            done(image.path, image.sha256, size=image.pixels.shape[:2], **_results(read))
            for image, read in zip(images, found, strict=True)
        ]


def _results(found: Prediction) -> dict[str, Any]:
    assert found.reading is not None
    pairs = zip(found.reading.characters, found.reading.probabilities, strict=True)
    characters = [{"character": character, "probability": probability} for character, probability in pairs]
    return {"text": found.reading.text, "probability": found.probability, "characters": characters}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The text of an image: the mean probability of its characters, and what it is."""
    if not found["characters"]:
        return ["  no text"]
    return [f"  {100 * found['probability']:6.2f} %  {one_line(found['text'])}"]


def rows(name: str, found: Mapping[str, Any]) -> list[list[Any]]:
    """The text of an image as a row of a table; the probabilities of its characters follow one another."""
    sure = " ".join(f"{entry['probability']:.4g}" for entry in found["characters"])
    return [[name, found["text"], "" if found["probability"] is None else found["probability"], sure]]
