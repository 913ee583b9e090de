"""Holding a gradient graph against finite differences of the model itself, on ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..graph.model import Model, Source
from ..graph.read import read
from ..graph.split import expose, extract
from ..inference.session import Session
from ..inspect.concrete_shapes import concrete_shapes
from ..proto.values import to_info

# Relative to the size of the values, each half of the one before. Kinks and curvature bend differences over long steps,
# float32 rounds those over short ones; in between lies a plateau.
_STEPS = tuple(2.0**-k for k in range(5, 17))
_CLOSE, _ROUGH = 0.02, 0.2
_ROUNDINGS = 2.0


@dataclass(frozen=True)
class Check:
    """The derivative along one direction, by the gradient and by differences.

    `error` is relative to the larger of both, or to the gradient's length (what a random direction sees of it on
    average); `limit` is what float32 allows there: see `verify`.
    """

    wrt: str
    direction: str
    exact: float
    numeric: float
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit


def verify(
    model: Source,
    gradient: Model,
    of: Sequence[str],
    wrt: Sequence[str],
    *,
    feeds: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    directions: int = 2,
) -> list[Check]:
    """Compare `gradient` (from `vjp(model, of, wrt)`) with central differences of `model`, for each of `wrt`.

    At the input `feeds` (default: seeded random numbers, symbolic sizes at 1, 16 or the image side), with random
    cotangents. Each `wrt` is perturbed where it is: what comes before it in the graph stays as it was. Directions, and
    how far both may be apart: the gradient itself and `directions` random halves of its elements, 2 % (a wrong element
    shows); as many random directions, 20 % (an element that is wrongly zero shows; the derivative along them is small
    compared to what kinks do to differences in float32). What rounding of the values alone does to a difference is no
    error: saturated sigmoids and gradients of zero can be judged no closer. Where a check fails, two points nearby
    decide.

    Raises ShapeError when an input needs `feeds` (its shape is not known), ModelError when the model does not run.
    """
    model = read(model)
    rng = np.random.default_rng(seed)
    given = dict(feeds) if feeds is not None else random_feeds(model, rng)
    first = _checks(model, gradient, of, wrt, given, rng, directions)
    if all(check.passed for check in first):
        return first
    others = [_checks(model, gradient, of, wrt, _nearby(given, rng), rng, directions) for _ in range(_OTHER_POINTS)]
    return others[0] if all(check.passed for checks in others for check in checks) else first


# Next to a kink (two maxima that nearly tie) differences are right on neither side: a wrong gradient is wrong at points
# nearby as well.
_OTHER_POINTS = 2
_NEARBY = 0.02


def _nearby(feeds: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The feeds with a little noise on floats."""
    moved = {}
    for name, array in feeds.items():
        moved[name] = array
        if array.dtype.kind == "f" and array.size:
            noise = rng.standard_normal(array.shape) * _NEARBY * float(np.std(array) or 1.0)
            moved[name] = (array + noise).astype(array.dtype)
    return moved


def _checks(
    model: Model,
    gradient: Model,
    of: Sequence[str],
    wrt: Sequence[str],
    given: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    directions: int,
) -> list[Check]:
    """What `verify` gives, at one point."""
    whole = expose(model, [*of, *wrt])
    at = Session(whole, providers="cpu").run(given, [*of, *wrt])
    cotangents = {name: rng.standard_normal(at[name].shape).astype(at[name].dtype) for name in of}
    seeds = {f"cotangent/{name}": c for name, c in cotangents.items()}
    grads = Session(gradient, providers="cpu").run({**given, **seeds}, [f"grad/{name}" for name in wrt])

    outputs = [to_info(whole.value(name)) for name in of]
    # What rounding may do to the sum: that of the values, and of the steps within the network that lead to them.
    size = sum(float(np.sum(np.abs(at[n].astype(np.float64) * cotangents[n]))) for n in of)
    rounding = _ROUNDINGS * size * float(max(np.finfo(at[n].dtype).eps for n in of))

    def along(name: str) -> Callable[[np.ndarray], float]:
        """sum(cotangent * of) as a function of the value `name`, all else as it was."""
        tail = Session(extract(whole, outputs=outputs, inputs=[to_info(whole.value(name))]), providers="cpu")
        point = {n: x for n, x in given.items() if n in tail.inputs}

        def value(x: np.ndarray) -> float:
            outs = tail.run({**point, name: x.astype(at[name].dtype)}, list(of))
            return sum(float(np.sum(outs[n].astype(np.float64) * cotangents[n])) for n in of)

        return value

    checks = []
    for name in wrt:
        g, x = grads[f"grad/{name}"].astype(np.float64), at[name].astype(np.float64)
        if not x.size:
            continue
        value = along(name)
        length = float(np.linalg.norm(g))
        scale = float(np.sqrt(np.mean(x * x))) or 1.0
        ways = [("the gradient", g / length * np.sqrt(x.size), _CLOSE)] if length else []
        if length and x.size > 1:
            halves = (rng.permutation(x.size).reshape(x.shape) % 2 for _ in range(directions))
            ways += [(f"half {i + 1} of it", ways[0][1] * half, _CLOSE) for i, half in enumerate(halves)]
        ways += [(f"random direction {i + 1}", rng.standard_normal(x.shape), _ROUGH) for i in range(directions)]
        for kind, d, limit in ways:
            exact = float(np.sum(g * d))
            spans = [h * scale for h in _STEPS]
            numeric, span = _plateau([(value(x + h * d) - value(x - h * d)) / (2 * h) for h in spans], spans)
            missed = max(abs(numeric - exact) - rounding / span, 0.0)
            error = missed / max(abs(exact), abs(numeric), length, 1e-12)
            checks.append(Check(name, kind, exact, numeric, error, limit))
    return checks


def _plateau(differences: Sequence[float], spans: Sequence[float]) -> tuple[float, float]:
    """The mean of the two neighbours that differ least, and the shorter span of both.

    They are chosen without a look at the value that is judged.
    """
    pairs = list(itertools.pairwise(differences))
    best = min(range(len(pairs)), key=lambda i: abs(pairs[i][0] - pairs[i][1]))
    return sum(pairs[best]) / 2, spans[best + 1]


def random_feeds(model: Model, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Seeded values for every input: normal floats, small whole numbers, symbolic sizes as `inspect` assumes them."""
    shapes = concrete_shapes(model)
    feeds: dict[str, Any] = {}
    for value in model.inputs:
        shape = shapes.get(value.name)
        if shape is None or value.dtype is None or value.dtype.kind not in "biuf":
            raise ShapeError(f"input {value} cannot be made up: give its values as feeds (--feeds FILE.npz)")
        if value.dtype.kind == "f":
            feeds[value.name] = rng.standard_normal(shape).astype(value.dtype)
        elif value.dtype.kind == "b":
            feeds[value.name] = np.ones(shape, bool)
        else:
            feeds[value.name] = rng.integers(0, 2, shape).astype(value.dtype)
    return feeds
