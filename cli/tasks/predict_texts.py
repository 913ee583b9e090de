"""Predictions for texts: those of the command line, of files, of lines and of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import refuse_crop, refuse_part
from ..terminal.words import as_options
from .guesses import plain_guess
from .over_images import Entry
from .text_items import Item

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ..files.run import Run
    from ..terminal.progress import Progress
    from .predict import PredictOptions


def predict_texts(
    options: PredictOptions, model: Model, items: Sequence[Item], run: Run | None, bar: Progress
) -> list[Entry]:
    """The entries of all texts, in order; one that fails alone is raised. Raises TextError, ModelError."""
    from ...engine.errors import OnnxrayError, RuntimeUnavailable
    from ..files.arrays import fed
    from ..files.run import failed

    refuse_crop(options.selection)
    refuse_part(options.share)
    more, entries = fed(options.feeds, model), []
    said: set[str] = set()
    for item in items:
        kept = None if run is None else run.kept(item.path, item.sha256)
        try:
            entry, notes = (kept, []) if kept is not None and _fits(kept) else _entry(options, model, item, more)
        except RuntimeUnavailable:
            raise
        except OnnxrayError as error:
            if len(items) == 1:
                raise
            entry, notes = failed(item.path, error), [f"{item.path.name} failed: {error}"]
        for note in notes:
            if note not in said:
                said.add(note)
                bar.say(note)
        if run is not None:
            run.add(entry)
        entries.append(entry)
        bar.step(item.path.name)
    return entries


def _entry(options: PredictOptions, model: Model, item: Item, more: dict[str, Any]) -> tuple[Entry, list[str]]:
    """What the model answers for a text, and what is to be said of how it was read."""
    from ...engine.attribution.texts import read_given
    from ...engine.predict import predict
    from ...engine.text.reading import notes_of
    from ..files.run import done

    read = read_given(model, {"": item.given(options.texts), **more})
    assert read is not None
    given: Any = {next(iter(read[1])): read[0], **more} if more else read[0]
    found = predict(model, given, options.top, batch=options.batch, **options.common.runtime)
    if found.numbers is not None:
        results: dict[str, Any] = {"numbers": [float(number) for number in found.numbers]}
    else:
        results = {"top": [plain_guess(guess) for guess in found.top]}
    return done(item.path, item.sha256, **results), [f"warning: {as_options(note)}" for note in notes_of(read[0])]


def _fits(entry: Entry) -> bool:
    """Whether an entry of an earlier run is of this command's form."""
    return bool({"top", "numbers"} & set(entry))
