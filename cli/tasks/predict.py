"""Predicting batches of images; the section of the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import fixed_batch
from ..terminal.table import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.signature import ClassOutput
    from ...engine.preprocess.card import Card
    from ..figures.parts import Section
    from ..files.run import Run
    from ..terminal.progress import Progress
    from .subject import Subject


@dataclass
class Prediction:
    """Images in, entries of the manifest out."""

    model: Model
    card: Card
    output: ClassOutput
    top: int
    batch: int
    runtime: dict[str, Any]
    bar: Progress
    run: Run | None

    def all(self, paths: Sequence[Path]) -> list[dict[str, Any]]:
        """The entry of every image, in order."""
        from ...engine.errors import ImageError
        from ..files.images import read
        from ..files.run import failed

        self._entries: dict[Path, dict[str, Any]] = {}
        self._alone = not self.card.batched
        waiting: list[tuple[Path, NDArray[np.uint8]]] = []
        for path in paths:
            kept = self.run.kept(path) if self.run else None
            if kept is not None:
                self._add(path, kept)
                continue
            try:
                waiting.append((path, read(path)))
            except ImageError as error:
                self.bar.say(str(error), error=True)
                self._add(path, failed(path, error))
            if len(waiting) >= (1 if self._alone else self.batch):
                self._predict(waiting)
                waiting = []
        if waiting:
            self._predict(waiting)
        return [self._entries[path] for path in paths]

    def _add(self, path: Path, entry: dict[str, Any]) -> None:
        self._entries[path] = entry
        if self.run:
            self.run.add(entry)
        self.bar.step(path.name)

    def _predict(self, images: list[tuple[Path, NDArray[np.uint8]]]) -> None:
        from ...engine.targets.classify import best
        from ..files.run import done

        for (path, image), guesses in zip(
            images, best(self._scores([i for _, i in images]), self.output, self.card.labels, self.top), strict=True
        ):
            self._add(path, done(path, size=image.shape[:2], top=[asdict(guess) for guess in guesses]))

    def _scores(self, images: list[NDArray[np.uint8]]) -> NDArray[Any]:
        """The class output for all images; one by one where the model does not take several, which is said once."""
        from ...engine.errors import ModelError, ShapeError
        from ...engine.inference.session import session
        from ...engine.preprocess.image import prepare_batch

        runner = session(self.model, **self.runtime)
        fixed = fixed_batch(self.model, self.card) or 1

        def scores(part: list[NDArray[np.uint8]]) -> NDArray[Any]:
            surplus = -len(part) % fixed  # a model for exactly 4 images gets the last one again
            tensor, _ = prepare_batch([*part, *part[-1:] * surplus], self.card)
            found = runner.run({str(self.card.input): tensor}, [self.output.name])[self.output.name]
            if found.ndim > 1 and len(found) != len(part) + surplus:
                raise ShapeError(f"{len(part) + surplus} images gave {len(found)} rows of scores")
            return found[: len(part)] if found.ndim > 1 else found

        if not self._alone and len(images) > 1:
            try:
                return scores(images)
            except (ModelError, ShapeError) as error:
                self.bar.say(f"the model cannot run several images at once ({error}): running one at a time")
                self._alone = True
        import numpy as np

        return np.concatenate([np.atleast_2d(scores([image])) for image in images])


def section(subject: Subject) -> Section:
    """What the model sees in each image, for a report."""
    from ...engine.errors import ModelError
    from ...engine.inspect.signature import class_output
    from ...engine.targets.classify import best, shown_as
    from ..figures.figure import picture
    from ..figures.parts import Bars, Section

    try:
        classes = class_output(subject.model)
    except ModelError as error:
        return Section("Prediction", f"There is no prediction to show: {error}.")
    parts = []
    for path, pixels in subject.images:
        _, tensor = subject.work.prepare(path.name, pixels)
        values = subject.work.values(tensor, [classes.name])[classes.name]
        guesses = best(values, classes, subject.card.labels, 3)[0]
        named = tuple((guess.label or f"class {guess.index}", guess.score) for guess in guesses)
        parts.append(Bars(path.name, picture(pixels, 320), named))
    lead = f"The classes that the model finds most probable for each image ({shown_as(classes)})."
    return Section("Prediction", lead, parts)


def write_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "rank", "class", "label", "score", "raw"])
    for entry in entries:
        for rank, guess in enumerate(entry.get("top", ()), 1):
            table.writerow([entry["path"], rank, guess["index"], guess["label"] or "", guess["score"], guess["raw"]])
    return text.getvalue()


def as_text(entries: Sequence[Mapping[str, Any]], shown: str) -> str:
    blocks = []
    for entry in entries:
        if entry["status"] != "done":
            continue
        lines = [one_line(entry["path"])]
        for guess in entry["top"]:
            name = f"class {guess['index']}" if guess["label"] is None else one_line(guess["label"])
            lines.append(f"  {100 * guess['score']:6.2f} %  {name}")
        blocks.append("\n".join(lines))
    return "\n".join([*blocks, f"({shown})", ""]) if blocks else ""
