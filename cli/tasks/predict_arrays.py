"""Predictions for what is no image: arrays of NumPy's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_or_none, refuse_crop, refuse_part
from .guesses import plain_guess
from .over_images import Entry, ReadImage, over_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.answer import Answer
    from ..files.run import Run
    from ..terminal.progress import Progress
    from .predict import PredictOptions


def predict_arrays(
    options: PredictOptions, model: Model, answer: Answer, paths: Sequence[Path], run: Run | None, bar: Progress
) -> list[Entry]:
    """The entries of all files, in order. Raises UnknownName, ShapeError, ModelError."""
    from ...engine.attribution.inputs import read_labels_of
    from ..files.arrays import fed, given_of
    from ..files.run import done

    refuse_crop(options.selection)
    refuse_part(options.share)
    more, labels = fed(options.feeds, model), read_labels_of(model)
    card = card_or_none(model, options.common.quiet)

    def several(files: Sequence[ReadImage]) -> list[Entry]:
        (file,) = files
        results = _results(_values(model, answer, file.pixels, options), answer, labels, options.top)
        one = results[0] if len(results) == 1 else {"samples": results}
        return [done(file.path, file.sha256, **one)]

    found = over_batches(run, bar, paths, several, lambda: 1, _fits, lambda path: given_of(path, model, more, card))
    by_path = {entry["path"]: entry for entry in found}
    return [by_path[str(path)] for path in paths]


def _values(model: Model, answer: Answer, given: Any, options: PredictOptions) -> NDArray[Any]:
    """What the answer holds for every sample."""
    from ...engine.attribution.inputs import input_of, values_at
    from ...engine.inference.batches import RunOptions

    runtime = RunOptions(**options.common.runtime, batch=options.batch)
    return values_at(model, input_of(model, given), [answer.value], runtime)[answer.value]


def _results(values: NDArray[Any], answer: Answer, labels: tuple[str, ...] | None, top: int) -> list[dict[str, Any]]:
    from ...engine.targets.classify import best

    if answer.kind == "number":
        return [{"numbers": [float(number) for number in row]} for row in answer.rows(values)]
    rows = best(values, answer, labels, top, finite=False)
    return [{"top": [plain_guess(guess) for guess in row]} for row in rows]


def _fits(entry: Entry) -> None:
    """Raises KeyError or TypeError for an entry of an earlier run that is not of this command's form."""
    if not ({"top", "numbers", "samples"} & set(entry)):
        raise KeyError("top")
