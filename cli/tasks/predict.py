"""Predicting batches of images; the section of the report."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import ImageError
from ..parameters.inputs import card_of, fixed_batch, open_model, refuse_part, take_images
from ..parameters.texts import NO_TEXTS, TextOptions
from ..sources.share import WHOLE, Share
from ..sources.source import ALL, Selection
from ..terminal.echo import one_line
from ..terminal.words import as_options
from . import predict_boxes as boxes
from . import predict_readings as readings
from .guesses import plain_guess
from .over_images import Entry, Pixels, ReadImage, over_batches
from .text_items import items_of, takes_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.answer import Answer
    from ...engine.pipeline.judge import Judge
    from ...engine.predict import Prediction
    from ...engine.preprocess.card import Card
    from ..figures.parts import Section
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..terminal.progress import Progress
    from .predict_boxes import BoxPrediction
    from .subject import Subject


@dataclass(frozen=True)
class PredictOptions:
    """What `onnxray predict` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    top: int
    batch: int
    feeds: Sequence[str]
    output: Output | None
    common: Common
    selection: Selection = ALL
    when: str | None = None
    memory: Path | None = None
    share: Share = WHOLE
    texts: TextOptions = NO_TEXTS
    top_given: bool = False  # whether `top` was asked for, and is not the usual one


@dataclass(frozen=True)
class Predictions:
    """Entries of all images, in order; `about` the model, its card and what the scores are."""

    about: Mapping[str, Any]
    entries: Sequence[Entry]

    def to_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.about, "images": self.entries}


def predict(options: PredictOptions) -> Predictions:
    """Predict every image, and write the run's folder if there is one. Raises ModelError, CardError, ImageError."""
    from ...engine.detection.table import table_of
    from ...engine.preprocess.answers import answer_of, predictable
    from ...engine.preprocess.arrays import is_array_file
    from ...engine.targets.boxes import answers_with_boxes
    from ...engine.targets.reading import recognised_output
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress
    from .predict_arrays import predict_arrays
    from .predict_boxes import BoxPrediction
    from .predict_readings import ReadingPrediction

    common = options.common
    model = open_model(options.model, common.card)
    answer = answer_of(model)
    if takes_texts(options):
        return _of_texts(options, model, answer)
    given = options.images, options.model, common.quiet, options.selection, options.share
    images = take_images(*given, boxes.picture_name, options.batch)
    of_arrays = bool(options.feeds) or any(map(is_array_file, images.paths))
    card = None if of_arrays else card_of(model, common.quiet)
    finds_boxes = card is not None and answers_with_boxes(model)
    table = table_of(model, card.size) if card is not None and finds_boxes else None
    reads = None if card is None or finds_boxes else recognised_output(model)
    if table is None and reads is None:
        predictable(model)
    elif options.top_given:
        what = "finds boxes" if table is not None else "reads texts"
        raise ImageError(f"--top is about classes, and the model {what}: leave it out")
    meaning = {"boxes": table.reason} if table else {"text": f"best path of output {reads!r}"} if reads else None
    meaning = meaning or _meaning(answer)
    about = {"model": describe(model), "card": None if card is None else describe_card(card), **meaning}
    about["answer"] = {"output": answer.output, "kind": answer.kind, "reason": answer.reason}
    decisive = {"top": options.top, "batch": options.batch, **common.runtime}
    decisive |= {"with": sorted(options.feeds)} if options.feeds else {}
    decisive |= {**options.selection.to_mapping(), **(options.share if of_arrays else images.share).to_mapping()}
    decisive |= {"when": options.when} if options.when is not None else {}
    decisive |= {"memory": str(options.memory)} if options.memory is not None else {}
    judge = _judge(options, model, card, "finds boxes" if finds_boxes else "reads texts" if reads else None)
    run = Run(options.output, "predict", decisive, about, images.paths) if options.output else None
    with run or contextlib.nullcontext(), Progress(len(images), quiet=common.quiet, bar=common.progress) as bar:
        if card is None:
            entries = predict_arrays(options, model, answer, images.paths, run, bar)
        else:
            work: BatchPrediction | BoxPrediction | ReadingPrediction
            if table is not None:
                work = BoxPrediction(model, card, table, options, run, images)
            elif reads is not None:
                work = ReadingPrediction(model, card, options)
            else:
                work = BatchPrediction(model, card, answer, options, bar, judge)
            found = over_batches(run, bar, images, work.several, work.size, _fits, card=card)
            by_path = {entry["path"]: entry for entry in found}
            entries = [by_path[str(path)] for path in images.paths] if images.paths else list(by_path.values())
        if run is not None:
            conclude(run, entries)
    return Predictions(about, entries)


def _of_texts(options: PredictOptions, model: Model, answer: Answer) -> Predictions:
    """Predict every text, and write the run's folder if there is one. Raises TextError, ModelError."""
    from ...engine.preprocess.answers import predictable
    from ..files.run import Run, describe
    from ..terminal.progress import Progress
    from .predict_texts import predict_texts

    refuse_part(options.share)
    if options.when is not None or options.memory is not None:
        raise ImageError("--when and --memory are about images, and texts are given: leave them out")
    predictable(model)
    items = items_of(options, model)
    about = {"model": describe(model), "card": None, **_meaning(answer)}
    about["answer"] = {"output": answer.output, "kind": answer.kind, "reason": answer.reason}
    decisive = {"top": options.top, "batch": options.batch, **options.common.runtime, **options.texts.to_mapping()}
    decisive |= {"with": sorted(options.feeds)} if options.feeds else {}
    decisive |= options.selection.to_mapping()
    paths, common = [item.path for item in items], options.common
    run = Run(options.output, "predict", decisive, about, paths) if options.output else None
    bar_of = Progress(len(items), quiet=common.quiet, bar=common.progress, what="texts")
    with run or contextlib.nullcontext(), bar_of as bar:
        entries = predict_texts(options, model, items, run, bar)
        if run is not None:
            conclude(run, entries)
    return Predictions(about, entries)


def conclude(run: Run, entries: Sequence[Entry]) -> None:
    """What is written of all images together."""
    run.manifest["files"] = [run.text("predictions.csv", write_csv(entries))]


@dataclass
class BatchPrediction:
    """Images in, entries of the manifest out."""

    model: Model
    card: Card
    answer: Answer
    options: PredictOptions
    bar: Progress
    judge: Judge | None = None

    def __post_init__(self) -> None:
        self._alone = not self.card.batched
        self._said: set[str] = set()

    def size(self) -> int:
        """How many images run together, at most."""
        return 1 if self._alone else self.options.batch

    def several(self, images: Sequence[ReadImage]) -> list[Entry]:
        """The entries of images, in order."""
        seen = [self._read(image) for image in images]
        answers = self._answers(self._scores(seen))
        judged = self._judged(answers, seen, [str(image.path) for image in images])
        return [
            self._entry(image, {**_results(answer, self.options.top), **fields})
            for image, answer, fields in zip(images, answers, judged, strict=True)
        ]

    def _read(self, image: ReadImage) -> Pixels:
        """The part of an image that is asked for; 12 bits in a 16-bit picture are read as such, which is said."""
        from ...engine.preprocess.depth import assumed

        pixels, note = assumed(self.options.selection.part(image.pixels), self.card)
        if note is not None:
            self.bar.say(f"{str(image.path)!r}: {as_options(note)}")
        return pixels

    def _answers(self, values: NDArray[Any]) -> list[Prediction]:
        from ...engine.pipeline.judge import ALL_CLASSES
        from ...engine.predict import Prediction
        from ...engine.targets.classify import best

        if self.answer.kind == "number":
            return [Prediction((), row) for row in self.answer.rows(values)]
        most = self.options.top if self.judge is None else ALL_CLASSES
        return [Prediction(tuple(row)) for row in best(values, self.answer, self.card.labels, most, finite=False)]

    def _judged(self, answers: Sequence[Prediction], seen: Sequence[Pixels], paths: list[str]) -> list[dict[str, Any]]:
        """What the rule says of images, for their entries."""
        if self.judge is None:
            return [{}] * len(answers)
        found = self.judge.judged(answers, seen, paths)
        known = [fields["prediction"] for fields, _ in found]
        for text in dict.fromkeys(text for names in known for text in names.get("warnings", ())):
            self._warn(text)
        kept = ("novelty", "warnings") if self.judge.memory is not None else ()
        return [
            {**{name: names[name] for name in kept if name in names}, "holds": holds}
            for names, (_, holds) in zip(known, found, strict=True)
        ]

    def _warn(self, text: str) -> None:
        """Said once in a run."""
        if text not in self._said:
            self._said.add(text)
            self.bar.say(f"warning: novelty: {text}")

    def _entry(self, image: ReadImage, results: dict[str, Any]) -> Entry:
        """An image whose scores are no numbers fails alone: the rest of its batch is done."""
        from ..files.run import done, failed

        scores = results.get("numbers", []) + [guess["probability"] for guess in results.get("top", [])]
        if not all(map(math.isfinite, scores)):
            error = ImageError(
                f"{str(image.path)!r}: the model's scores are NaN or infinite: its weights hold such numbers, or it "
                "overflows on this image"
            )
            self.bar.say(str(error), error=True)
            return failed(image.path, error)
        return done(image.path, image.sha256, size=image.pixels.shape[:2], **results)

    def _scores(self, images: list[Pixels]) -> NDArray[Any]:
        """The class output for all images; one by one where the model does not take several, which is said once."""
        from ...engine.errors import ModelError, ShapeError
        from ...engine.graph.split import expose
        from ...engine.inference.session import session
        from ...engine.preprocess.image import prepare_batch

        name, batched = self.answer.value, self.answer.axis > 0
        runner = session(expose(self.model, name), **self.options.common.runtime)
        fixed = fixed_batch(self.model, self.card) or 1

        def scores(part: list[Pixels]) -> NDArray[Any]:
            surplus = -len(part) % fixed  # a model for exactly 4 images gets the last one again
            tensor, _ = prepare_batch([*part, *part[-1:] * surplus], self.card)
            found = runner.run({str(self.card.input): tensor}, [name])[name]
            if batched and len(np.atleast_1d(found)) != len(part) + surplus:
                rows = len(np.atleast_1d(found))
                raise ShapeError(
                    f"{len(part) + surplus} images gave {rows} rows of scores: the first axis of {name!r} is none of "
                    f"images; explain one of its numbers with the target element:{name}:INDEX,..."
                )
            return np.atleast_1d(found)[: len(part)] if batched else found

        import numpy as np

        if not self._alone and len(images) > 1:
            try:
                return scores(images)
            except (ModelError, ShapeError) as error:
                self.bar.say(f"the model cannot run several images at once ({error}): running one at a time")
                self._alone = True
        single = [scores([image]) for image in images]
        return np.concatenate([part if batched else part[None] for part in single])


def _meaning(answer: Answer) -> dict[str, str]:
    """What is printed, and what it is made of."""
    return (
        {"probabilities": answer.shown_as} if answer.has_classes else {"numbers": f"output {answer.value!r} as it is"}
    )


def _shown_as(about: Mapping[str, Any]) -> str:
    """What is printed, in words."""
    return "; ".join(
        f"{name}: {about[name]}" for name in ("probabilities", "numbers", "boxes", "text") if name in about
    )


def _judge(options: PredictOptions, model: Model, card: Card | None, other: str | None) -> Judge | None:
    """The judge of --when; None without it. Raises what `judge_of` raises, ImageError where rules are about nothing.

    other: what the model does where it answers with neither classes nor numbers.
    """
    from .inspecting import judge_of

    if options.when is None and options.memory is None:
        return None
    if card is None or other is not None:
        what = f"the model {other}" if other is not None else "arrays are given"
        raise ImageError(f"--when and --memory are about the classes or numbers of images, and {what}: leave them out")
    return judge_of(model, card, options.when, options.memory, options.common.runtime)


def _results(answer: Prediction, top: int) -> dict[str, Any]:
    if answer.numbers is not None:
        return {"numbers": [float(number) for number in answer.numbers]}
    return {"top": [plain_guess(guess) for guess in answer.top[:top]]}


def _numbers(values: NDArray[Any], answer: Answer) -> list[dict[str, Any]]:
    return [{"numbers": [float(number) for number in row]} for row in answer.rows(values)]


def _fits(entry: Entry) -> None:
    """Raises KeyError, TypeError or ValueError for an entry of an earlier run that is not of this command's form."""
    as_text(Predictions({}, [entry]))
    write_csv([entry])


def _each(entry: Entry) -> list[tuple[str, dict[str, Any]]]:
    """The name and the results of each sample of a file; of an image, or of one sample, the file's."""
    if "samples" not in entry:
        return [(entry["path"], entry)]
    return [(f"{entry['path']}[{number}]", found) for number, found in enumerate(entry["samples"])]


def as_text(predictions: Predictions) -> str:
    """The classes of every image, best first, and what the scores are; nothing if no image is done."""
    blocks = []
    for entry in predictions.entries:
        if entry["status"] != "done" or not entry.get("holds", True):
            continue
        for name, found in _each(entry):
            lines = [one_line(name)]
            lines += [f"  {number:.6g}" for number in found.get("numbers", ())]
            lines += boxes.lines(found) if "boxes" in found else []
            lines += readings.lines(found) if "characters" in found else []
            for guess in found.get("top", ()):
                label = f"class {guess['index']}" if guess["label"] is None else one_line(guess["label"])
                mark = {True: "  yes", False: "  no"}.get(guess.get("holds"), "")
                lines.append(f"  {100 * guess['probability']:6.2f} %  {label}{mark}")
            blocks.append("\n".join(lines))
    return "\n".join([*blocks, f"({_shown_as(predictions.about)})", ""]) if blocks else ""


def write_csv(entries: Sequence[Entry]) -> str:
    """A line for each class of each image, best first."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    named = [each for entry in entries if entry.get("holds", True) for each in _each(entry)]
    if any("boxes" in found for _, found in named):
        table.writerows(
            [boxes.COLUMNS, *(row for name, found in named if "boxes" in found for row in boxes.rows(name, found))]
        )
        return text.getvalue()
    if any("characters" in found for _, found in named):
        read = [(name, found) for name, found in named if "characters" in found]
        table.writerows([readings.COLUMNS, *(row for name, found in read for row in readings.rows(name, found))])
        return text.getvalue()
    table.writerow(["image", "rank", "class", "label", "probability", "raw"])
    for name, found in named:
        for rank, guess in enumerate(found.get("top", ()), 1):
            numbers = guess["probability"], guess["raw"]
            table.writerow([name, rank, guess["index"], guess["label"] or "", *numbers])
        for index, number in enumerate(found.get("numbers", ())):
            table.writerow([name, "", index, "", "", number])
    return text.getvalue()


def section(subject: Subject) -> Section:
    """What the model sees in each image, for a report."""
    from ...engine.errors import ModelError
    from ...engine.preprocess.answers import predictable
    from ...engine.targets.classify import best
    from ..figures.figure import picture
    from ..figures.parts import Bars, Picture, Section

    try:
        answer = predictable(subject.model)
    except ModelError as error:
        return Section("Prediction", f"There is no prediction to show: {error}.")
    parts: list[Any] = []
    for path, pixels in subject.images:
        _, tensor = subject.work.prepare(path.name, pixels)
        values = subject.work.values(tensor, [answer.value])[answer.value]
        if answer.kind == "number":
            (row,) = _numbers(values, answer)
            text = ", ".join(f"{number:.4g}" for number in row["numbers"])
            parts.append(Picture(path.stem, picture(subject.picture(pixels), 320), path.name, f"{path.name}: {text}"))
            continue
        guesses = best(values, answer, subject.card.labels, 3)[0]
        named = tuple((guess.label or f"class {guess.index}", guess.probability) for guess in guesses)
        parts.append(Bars(path.name, picture(subject.picture(pixels), 320), named))
    if answer.kind == "number":
        return Section("Prediction", f"What the model answers for each image ({_shown_as(_meaning(answer))}).", parts)
    lead = f"The classes that the model finds most probable for each image ({_shown_as(_meaning(answer))})."
    return Section("Prediction", lead, parts)
