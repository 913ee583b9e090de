"""Inputs that stand for "nothing": what path and perturbation methods compare an input with.

zero    every element 0: after the usual normalisation, the mean image of the training set
black   pixels 0; gray   pixels 127.5; white  pixels 255, as the model card maps pixels to the tensor
mean    the mean colour of the image itself; of a signal or a series the mean over time of each of its features
blur    the input itself, blurred with a Gaussian of a 16th of the shorter side: no detail, the same large areas
noise   uniform noise over the input's own range, seeded
NUMBER  every element that number; an array  of one sample's shape, of the whole batch, or one number per channel
#rrggbb a colour, as the model card maps pixels to the tensor (perturbation methods)
pad     the padding token in place of every token of a text, its special tokens kept; mask, unk: those tokens
text:T  the tokens of the text T, cut or padded to the length of the one that is explained
drop    words are cut out of the text, which is read anew (perturbation methods)
interpolate  what is hidden of a signal or a series, on a line from what is seen before to what is seen behind:
        `interpolated` (perturbation methods)
inpaint what is hidden, filled in smoothly from what surrounds it: `inpainted` (perturbation methods)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..text.reader import STAND_INS
from ..text.reading import ANY_TEXT, TEXT_PREFIX
from .place_axes import is_table, place_axes
from .text_baselines import mean_of_table, text_stand_in

if TYPE_CHECKING:
    from .problem import Problem

NAMES = ("zero", "black", "gray", "white", "mean", "blur", "noise", *STAND_INS, ANY_TEXT)
# What stands in for hidden parts: any baseline, a colour, or what surrounds them. COLOUR is a form, not a name.
INPAINT, INTERPOLATE, DROP, COLOUR = "inpaint", "interpolate", "drop", "#rrggbb"
FILLS = (*NAMES, INPAINT, INTERPOLATE, DROP, COLOUR)
BLUR = 1 / 16
_PIXELS = {"black": (0.0,) * 3, "gray": (127.5,) * 3, "white": (255.0,) * 3}


def background_rows(problem: Problem, given: NDArray[Any], most: int, seed: int) -> NDArray[Any]:
    """Rows (B, ...) of a background in the dtype of the input: all, or `most` of them after a seeded shuffle.

    Raises MethodError for rows that are no samples of the input.
    """
    x = problem.input.x
    fits = given.ndim == x.ndim and given.shape[1:] == x.shape[1:] and len(given)
    numbers = given.dtype.kind in "fiub" and x.dtype.kind in "fiu"
    if not fits or not (numbers or given.dtype.kind == x.dtype.kind or x.dtype.kind == "O"):
        raise MethodError(
            f"a background of {given.dtype} {list(given.shape)} fits no samples of shape {list(x.shape[1:])}: give "
            "rows of that shape, (rows, ...)"
        )
    if len(given) > most:
        given = given[np.random.default_rng(seed).permutation(len(given))[:most]]
    return given.astype(x.dtype)


def usual_fill(problem: Problem) -> str:
    """What hides a part where the user names no fill: "blur" on images, where a flat patch with its edges would be seen
    as an object or a defect of its own; "pad" in a text, "drop" where the model takes it as a string; "zero" on other
    inputs."""
    if problem.input.reading is not None:
        return DROP if problem.input.reading.strings else "pad"
    return "zero" if problem.input.plane is None else "blur"


def baseline(problem: Problem, kind: str | float | NDArray[Any], seed: int = 0) -> NDArray[Any]:
    """The baseline (N, ...) of every sample, in the dtype of the input.

    Raises MethodError for a shape that does not fit, or a kind that needs an image where there is none.
    """
    x = problem.input.x
    if isinstance(kind, np.ndarray):
        return _array(problem, kind)
    if not isinstance(kind, str):
        return np.full_like(x, kind)
    if kind in STAND_INS or kind.startswith(TEXT_PREFIX):
        return text_stand_in(problem, kind)
    if kind == "mean" and problem.input.reading is not None:
        return mean_of_table(problem)
    if kind == "zero" and problem.input.neutral is not None:
        return np.array(np.broadcast_to(problem.input.neutral, x.shape))
    if kind == "zero":
        return np.zeros_like(x) if x.dtype.kind != "O" else np.full_like(x, "")
    if kind == DROP:
        raise MethodError("the fill 'drop' depends on what is hidden and is not a baseline: use 'pad' or 'mask'")
    if kind == INPAINT:
        raise MethodError("the fill 'inpaint' depends on what is hidden and is not a baseline: use 'blur' or 'mean'")
    if kind == INTERPOLATE:
        raise MethodError(
            "the fill 'interpolate' depends on what is hidden and is not a baseline: use 'mean' or 'zero'"
        )
    if x.dtype.kind not in "fiu":
        raise MethodError(f"the baseline {kind!r} is of numbers and the input holds {x.dtype}: use 'zero' or an array")
    if kind == "noise":
        flat = x.reshape(len(x), -1).astype(np.float64)
        low, high = (edge(axis=1).reshape(-1, *[1] * (x.ndim - 1)) for edge in (flat.min, flat.max))
        noise = np.random.default_rng(seed).random(x.shape[1:])
        return np.asarray(low + noise * (high - low), x.dtype)
    if kind in ("blur", "mean"):
        if kind == "mean" and (time := time_axis(problem)) is not None:
            return np.asarray(np.broadcast_to(x.mean(axis=time + 1, keepdims=True), x.shape), x.dtype)
        if problem.input.axes is None:
            raise MethodError(
                f"the baseline {kind!r} is for images and the input is none: use 'zero', a number or an array"
            )
        return blurred(x, problem.input.axes) if kind == "blur" else _mean(x, problem.input.axes)
    return _pixels(problem, kind)


def time_axis(problem: Problem) -> int | None:
    """The axis of a sample that the times of a signal or a series run along; None of other inputs."""
    given = problem.input
    if given.plane is not None or given.reading is not None or given.x.ndim < 2 or is_table(problem.source, given.name):
        return None
    axes = place_axes(problem.source, given.name, given.x.shape[1:])
    return axes[0] if len(axes) == 1 else None


def interpolated(sample: NDArray[Any], axis: int, hidden: NDArray[np.bool_]) -> NDArray[Any]:
    """One sample with its hidden elements on a line between the next visible ones along an axis, case by case.

    sample: (...). hidden: bool (B, ...). Returns (B, ...) in the sample's dtype. At an end the last visible element
    stays; where a feature is hidden at all times, its mean stands.
    """
    x = np.moveaxis(np.asarray(sample, np.float64), axis, -1)
    gone = np.moveaxis(hidden, axis + 1, -1)
    size = x.shape[-1]
    places = np.broadcast_to(np.arange(size), gone.shape)
    before = np.maximum.accumulate(np.where(gone, -1, places), axis=-1)
    behind = np.flip(np.minimum.accumulate(np.flip(np.where(gone, size, places), -1), axis=-1), -1)
    left, right = np.where(before < 0, behind, before), np.where(behind == size, before, behind)
    whole = np.broadcast_to(x, gone.shape)
    low, high = (np.take_along_axis(whole, np.clip(at, 0, size - 1), axis=-1) for at in (left, right))
    share = (places - left) / np.maximum(right - left, 1)
    filled = np.where(gone, low + np.clip(share, 0, 1) * (high - low), whole)
    filled = np.where(gone.all(axis=-1, keepdims=True), x.mean(axis=-1, keepdims=True), filled)
    if sample.dtype.kind in "iu":
        filled = np.rint(filled)
    return np.asarray(np.moveaxis(filled, -1, axis + 1), sample.dtype)


def _array(problem: Problem, kind: NDArray[Any]) -> NDArray[Any]:
    x, channel = problem.input.x, problem.input.channel
    fits = kind.shape in (x.shape, x.shape[1:], (1, *x.shape[1:]))
    if kind.dtype.kind in "fiub" and not fits and channel is not None and kind.shape == (x.shape[channel],):
        kind, fits = kind.reshape([-1 if axis == channel else 1 for axis in range(x.ndim)]), True
    if not fits or (kind.dtype.kind not in "fiub" and kind.dtype.kind != x.dtype.kind):
        raise MethodError(
            f"a baseline of {kind.dtype} {list(kind.shape)} does not fit samples of shape {list(x.shape[1:])}: give one"
            " that does" + ("" if channel is None else f", or a number for each of the {x.shape[channel]} channels")
        )
    return np.broadcast_to(kind, x.shape).astype(x.dtype)


def _mean(x: NDArray[Any], axes: tuple[int, int]) -> NDArray[Any]:
    mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)
    return np.broadcast_to(np.rint(mean) if x.dtype.kind in "iu" else mean, x.shape).astype(x.dtype)


def _pixels(problem: Problem, kind: str) -> NDArray[Any]:
    """The tensor of an image of one colour, by the card's order, mean and standard deviation."""
    card, x = problem.input.card, problem.input.x
    colour = _PIXELS.get(kind) or _colour(kind)
    if card is None:
        raise MethodError(
            f"the baseline {kind!r} needs an image and a model card: for tensors use 'zero', a number or an array"
        )
    order = card["order"]
    red, green, blue = colour
    if not isinstance(order, str) and (len(set(colour)) > 1 or (any(colour) and card.get("window") == "none")):
        raise MethodError(f"the model's bands have no colour {kind!r}: give 'zero', a number or one for each band")
    pixel = [red] * len(order)
    if order == "GRAY":
        pixel = [0.299 * red + 0.587 * green + 0.114 * blue]
    elif isinstance(order, str):
        pixel = [colour["RGB".index(c)] for c in order]
    mean, std = np.asarray(card["mean"], np.float64), np.asarray(card["std"], np.float64)
    values = (np.asarray(pixel) - mean) / std
    channel = problem.input.channel
    if channel is None:
        return np.full_like(x, values[0])
    shape = [1] * x.ndim
    shape[channel] = -1
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.broadcast_to(values.reshape(shape), x.shape).astype(x.dtype)


def _colour(text: str) -> tuple[float, ...]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise MethodError(f"the colour {text!r} is none: write it as #rrggbb, in hexadecimal")
    return tuple(float(int(text[at : at + 2], 16)) for at in (1, 3, 5))


def inpainted(sample: NDArray[Any], axes: tuple[int, int], hidden: NDArray[np.bool_]) -> NDArray[Any]:
    """One sample with its hidden pixels filled in from the visible ones, once for each of several masks.

    sample: (...), `axes` are its height and width; hidden: bool (B, H, W). Returns (B, ...) in the sample's dtype.
    Where everything is hidden, the sample's mean colour stands.
    """
    from ...kernels.inpaint import inpaint

    planes = np.moveaxis(sample, axes, (-2, -1))
    picture = np.ascontiguousarray(planes.reshape(-1, *hidden.shape[1:]), np.float32)
    result = np.empty((len(hidden), *sample.shape), sample.dtype)
    for mask, out in zip(hidden, result, strict=True):
        if mask.all():
            filled = np.broadcast_to(picture.mean(axis=(1, 2), keepdims=True, dtype=np.float64), picture.shape)
        else:
            filled = inpaint(picture, mask)
        if sample.dtype.kind in "iu":
            filled = np.rint(filled)
        out[...] = np.moveaxis(filled.reshape(planes.shape), (-2, -1), axes)
    # Types that float32 does not hold exactly keep their visible values.
    seen = ~hidden.reshape(len(hidden), *(n if axis in axes else 1 for axis, n in enumerate(sample.shape)))
    return np.where(seen, sample, result)


def blurred(x: NDArray[Any], axes: tuple[int, int], sigma: float | None = None) -> NDArray[Any]:
    """x, convolved along `axes` with a Gaussian of `sigma` elements (a 16th of the shorter axis), edges repeated."""
    if sigma is None:
        sigma = BLUR * min(x.shape[a] for a in axes)
    reach = max(1, int(np.ceil(3 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    taps /= taps.sum()
    result = x.astype(np.float64)
    for axis in axes:
        size = x.shape[axis]
        # One row of weights per output element; what falls off the edge counts for the outermost element.
        weights = np.zeros((size, size))
        sources = np.clip(np.arange(size)[:, None] + np.arange(-reach, reach + 1), 0, size - 1)
        np.add.at(weights, (np.arange(size)[:, None], sources), taps)
        with np.errstate(invalid="ignore"):  # of an input that is not finite, which the score says
            result = np.moveaxis(np.moveaxis(result, axis, -1) @ weights.T, -1, axis)
    if x.dtype.kind in "iu":
        result = np.rint(result)
    return result.astype(x.dtype)
