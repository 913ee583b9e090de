"""What a recogniser of text reads: connectionist temporal classification.

A. Graves, S. Fernández, F. Gomez and J. Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
Sequence Data with Recurrent Neural Networks", ICML 2006. A model of this kind scores every character and a blank at
every step along the line, (N, T, C) or (T, N, C). The text is that of the best path: the greatest score of each step,
repetitions taken once, blanks left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..detection.evidence import evidence, usual_plane
from ..errors import OnnxrayError
from ..graph.model import Model
from ..inference.session import run
from ..inspect.batch_axis import value_has_batch
from ..inspect.score_functions import score_function
from ..inspect.signature import image_input
from ..preprocess.answers import labels_said
from ..preprocess.find import find_hints

# Where PaddleOCR's exports keep the characters, one a line.
_METADATA = "character"
# What labels call the class that is no character.
_BLANKS = ("", "<blank>", "[blank]", "<blk>", "blank")
# Columns of the boxes that a detector has chosen: sides, a score, a class (and the sample).
_TABLE = (6, 7)


@dataclass(frozen=True)
class Read:
    """A character of the best path: its class, and its steps, first and one behind the last."""

    code: int
    start: int
    end: int


@dataclass(frozen=True)
class Reading:
    """A text, and how sure the model is of each of its characters: the mean probability of the steps of each."""

    text: str
    characters: tuple[str, ...]
    probabilities: tuple[float, ...]


def best_path(scores: NDArray[np.floating], blank: int) -> list[Read]:
    """The characters of one sample's scores (T, C): the greatest of each step, repetitions once, without blanks."""
    best = np.asarray(scores.argmax(axis=1))
    edges = np.flatnonzero(np.diff(best)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(best)]])
    runs = (Read(int(best[a]), int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b > a)
    return [run for run in runs if run.code != blank]


def blank_of(model: Model, labels: Sequence[str] | None, count: int) -> int:
    """The class, of `count`, that is no character: one for the model, whatever the images show.

    It is that which labels of all classes call so ("" or "<blank>"), the first where the file has PaddleOCR's list,
    else the first or the last, as the model reads an image of zeros; the first where it takes none of the usual size.
    """
    known = _known(model, labels)
    called = [code for code, name in enumerate(known) if name.lower() in _BLANKS]
    if len(known) == count and len(called) == 1:
        return called[0]
    if _METADATA in model.metadata:
        return 0
    return count - 1 if _ends_in_blank(model) else 0


@of_model
def _ends_in_blank(model: Model) -> bool:
    """Whether the last class wins at more steps than the first where there is nothing to read."""
    name, image = step_outputs(model)[0], image_input(model).name
    try:
        scores = _of_nothing(model, name, image)
    except OnnxrayError:  # at another size than the usual one it may run, and no size is known here
        return False
    best, last = scores.argmax(axis=2), scores.shape[2] - 1
    return int((best == last).sum()) > int((best == 0).sum())


def _of_nothing(model: Model, name: str, image: str) -> NDArray[np.floating]:
    """An output for an image of zeros of the usual size. Raises ModelError."""
    feeds = dict(evidence(model, usual_plane(model), {}).feeds)
    batch = (model.value(image).shape or (None,))[0]
    nothing = np.zeros_like(feeds[image])
    feeds[image] = np.repeat(nothing, batch, axis=0) if isinstance(batch, int) and len(nothing) == 1 else nothing
    return run(model, feeds, [name])[name]


def step_outputs(model: Model) -> list[str]:
    """The outputs that may score characters step by step, of those that hints leave: floats of three axes."""
    hint = find_hints(model).output
    found = [v for v in model.outputs if v.rank == 3 and v.dtype is not None and v.dtype.kind == "f"]
    return [v.name for v in found if hint is None or v.name == hint]


def samples_first(model: Model, name: str) -> bool:
    """Whether scores are (N, T, C) rather than (T, N, C), as recurrent networks make them."""
    image = image_input(model).name
    shape, given = model.value(name).shape, model.value(image).shape
    if shape is not None and given and shape[1] == given[0] != shape[0]:
        return False
    return value_has_batch(model, name, image)


def names_of(model: Model, labels: Sequence[str] | None, count: int, blank: int) -> Sequence[str]:
    """What each class reads as: labels, or those in the file; with the blank where it is, and a space behind them."""
    known = _known(model, labels)
    if len(known) == count:
        return known
    if _fits(known, count):
        return ["", *known, " "][:count] if blank == 0 else [*[*known, " "][: count - 1], ""]
    return [f"[{code}]" for code in range(count)]


def _known(model: Model, labels: Sequence[str] | None) -> Sequence[str]:
    return labels or tuple(model.metadata.get(_METADATA, "").rstrip("\n").split("\n"))


def _fits(known: Sequence[str], count: int) -> bool:
    return len(known) > 1 and count - 2 <= len(known) <= count


@of_model
def recognised_output(model: Model) -> str | None:
    """The output whose steps read as text, None where the model is no recogniser of text.

    It scores steps in its only output, and the names of its characters are known: labels, or a list in the file.
    """
    try:
        image_input(model)
        hints, labels = find_hints(model), labels_said(model)
        found = step_outputs(model)
        if hints.kind is not None or len(found) != 1 or (len(model.outputs) > 1 and hints.output is None):
            return None
        shape = model.value(found[0]).shape
    except OnnxrayError:
        return None
    count = shape[-1] if shape else None
    if not isinstance(count, int) or not _fits(_known(model, labels), count):
        return None
    sure = _METADATA in model.metadata or _shares_one(model, found[0])
    return None if count in _TABLE and not sure else found[0]


def _shares_one(model: Model, name: str) -> bool:
    """Whether a value comes out of a softmax."""
    function = score_function(model, name)
    return function is not None and function.kind in ("softmax", "log-softmax")


def readings(model: Model, output: str, values: NDArray[np.floating], labels: Sequence[str] | None) -> list[Reading]:
    """What is read in each sample, of the values of `recognised_output`, (N, T, C) or (T, N, C)."""
    scores = np.asarray(values, np.float64)
    if scores.ndim == 4:  # samples that ran one by one, (N, T, 1, C)
        scores = scores[:, :, 0]
    elif not samples_first(model, output):
        scores = np.moveaxis(scores, 1, 0)
    blank = blank_of(model, labels, scores.shape[2])
    names = names_of(model, labels, scores.shape[2], blank)
    shares = scores if _are_shares(scores) else _softmax(scores)
    return [_reading(sample, best_path(sample, blank), names) for sample in shares]


def _reading(shares: NDArray[np.float64], path: list[Read], names: Sequence[str]) -> Reading:
    characters = tuple(names[read.code] for read in path)
    sure = tuple(float(shares[read.start : read.end, read.code].mean()) for read in path)
    return Reading("".join(characters), characters, sure)


def _are_shares(scores: NDArray[np.float64]) -> bool:
    """Whether classes share one probability at every step already."""
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=2), 1, atol=1e-2))


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(scores - scores.max(axis=2, keepdims=True))
    return np.asarray(e / e.sum(axis=2, keepdims=True))
