"""Methods that run the network several times, as one batch inside a graph: other inputs, other maps of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ..attribution.baselines import BLUR, blurred
from ..attribution.baselines import baseline as constant
from ..errors import Disconnected, MethodError, ShapeError
from ..graph.dependencies import behind, outputs_of
from ..graph.model import Model
from ..graph.split import extract
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..proto.nodes import reads
from ..proto.values import to_info
from ..text.reader import STAND_INS
from .build import Build

if TYPE_CHECKING:
    from ..attribution.layer_choice import MapPlace

# The input of embeddings of what stands for nothing, which `texts.py` computes of token ids.
TOKEN_BASELINE = "token_baseline"
# Elements of all the constants (masks, noise) that a graph is given at most: 256 MiB of float32.
_MOST_ELEMENTS = 1 << 26


def fixed_shape(build: Build) -> tuple[int, ...]:
    """The shape of one sample of the input. Raises MethodError where a size is not fixed."""
    shape = build.op.shape(build.x)[1:]
    if not all(isinstance(d, int) for d in shape):
        raise MethodError(f"the input {build.x!r} has sizes that are not fixed: this method needs them in a graph")
    return tuple(int(d or 0) for d in shape)


def spread(build: Build, name: str, part: float = 1.0) -> str:
    """Per sample, `part` of the greatest minus the smallest element, in float64: (N, 1, ...)."""
    op = build.op
    axes = list(range(1, op.rank(name)))
    high, low = (op.Cast(end, to=TensorProto.DOUBLE) for end in _ends(build, name, axes))
    return op.Mul(op.Sub(high, low), op.const(part, like=high))


def _ends(build: Build, name: str, axes: list[int]) -> tuple[str, str]:
    op = build.op
    return op.ReduceMax(name, axes, keepdims=1), op.ReduceMin(name, axes, keepdims=1)


def baseline(build: Build, kind: Any, seed: int) -> str:
    """`baselines.baseline` in a graph: (N or 1, ...), float32."""
    op, problem = build.op, build.problem
    if isinstance(kind, str) and kind in STAND_INS and TOKEN_BASELINE in {v.name for v in build.model.inputs}:
        return build.real(TOKEN_BASELINE)
    x = build.real(build.x)
    if isinstance(kind, str) and kind == "noise":
        low = op.Cast(_ends(build, x, list(range(1, op.rank(x))))[1], to=TensorProto.DOUBLE)
        drawn = np.random.default_rng(seed).random(fixed_shape(build))
        return op.Cast(op.Add(low, op.Mul(spread(build, x), op.const(drawn))), to=TensorProto.FLOAT)
    if isinstance(kind, str) and kind == "blur":
        axes = problem.input.axes
        if axes is None:
            raise MethodError(
                "the baseline 'blur' is for images and the input is none: use 'zero', a number or an array"
            )
        shape = (0, *fixed_shape(build))
        sigma = BLUR * min(shape[a] for a in axes)
        for axis in axes:
            weights = blurred(np.eye(shape[axis])[..., None], (0, 2), sigma)[..., 0].astype(np.float32)
            last = op.rank(x) - 1
            perm = list(range(last + 1))
            perm[axis], perm[last] = last, axis
            moved = op.Transpose(x, perm=perm) if axis != last else x
            moved = op.MatMul(moved, op.const(np.ascontiguousarray(weights.T)))
            x = op.Transpose(moved, perm=perm) if axis != last else moved
        return x
    if isinstance(kind, str) and kind == "mean":
        if problem.input.axes is None:
            raise MethodError(
                "the baseline 'mean' is for images and the input is none: use 'zero', a number or an array"
            )
        return op.Expand(op.ReduceMean(x, list(problem.input.axes), keepdims=1), op.Shape(x))
    if isinstance(kind, np.ndarray) and kind.shape[:1] == (1,) and kind.ndim == op.rank(x):
        kind = kind[0]
    made = constant(problem, kind, seed)[:1].astype(np.float32)
    if made.size and (made == made.flat[0]).all() and not all(isinstance(d, int) for d in op.shape(build.x)[1:]):
        made = made.reshape(-1)[:1].reshape((1,) * made.ndim)  # of whatever size the input turns out to have
    return op.const(made)


def stacked(build: Build, arrays: NDArray[np.float32]) -> str:
    """(S, ...) as a constant (1, S, ...). Raises MethodError where it is too large for a file."""
    if arrays.size > _MOST_ELEMENTS:
        raise MethodError(f"the graph would hold {arrays.nbytes >> 20} MiB of constants: take fewer steps or samples")
    return build.op.const(np.ascontiguousarray(arrays[None]))


def over_steps(build: Build, x: str, count: int) -> str:
    """Gradients (N, S, ...) at inputs x (N, S, ...)."""
    flat = build.folded(x)
    return build.unfolded(build.gradients_at(flat, count), count)


def weighted_sum(build: Build, values: str, weights: NDArray[Any]) -> str:
    """sum over S of weights (S,) times values (N, S, ...): (N, ...)."""
    op = build.op
    shape = [1, len(weights)] + [1] * (op.rank(values) - 2)
    return op.ReduceSum(op.Mul(values, op.const(weights.astype(np.float32).reshape(shape))), [1], keepdims=0)


def masked_scores(build: Build, place: MapPlace, masks: NDArray[np.float32]) -> str:
    """Scores (N, S), float32, of the layer's maps times each of `masks` (S, h, w), the rest of the network run on
    them."""
    op = build.op
    shape = op.shape(place.value)
    if not all(isinstance(d, int) for d in shape[1:]):
        raise MethodError(f"the size of the layer {place.name!r} is not fixed: its places cannot be counted in a graph")
    ones = np.ones((len(masks), *(1 if a == place.grid.channel else int(d or 0) for a, d in enumerate(shape) if a)))
    full = place.grid.put(ones.astype(np.float32), masks[:, None])
    value = build.real(place.value)
    if place.zero:
        value = op.Sub(value, op.const(float(place.zero), like=value))
    variants = op.Mul(op.Unsqueeze(value, [1]), stacked(build, np.ascontiguousarray(full, np.float32)))
    if place.zero:
        variants = op.Add(variants, op.const(float(place.zero), like=variants))
    if op.dtype(place.value).kind in "iu":
        limits = np.iinfo(op.dtype(place.value))
        low, high = (op.const(float(end), like=variants) for end in (limits.min, limits.max))
        variants = op.Clip(op.Round(variants), low, high)
    variants = op.cast(build.folded(variants), place.value)
    y = _tail(build, place.value, variants, len(masks))
    cotangent = build.repeated(build.cotangent(), len(masks))
    cotangent = build.real(cotangent)
    # Elements whose cotangent is 0 do not count, even if they are infinite.
    zero = op.const(0, like=cotangent)
    product = op.Where(op.Equal(cotangent, zero), zero, op.Mul(build.real(y), cotangent))
    rows = op.Reshape(product, op.Concat(op.size_of(product, 0), op.const([-1]), axis=0))
    score = op.ReduceSum(rows, [1], keepdims=0)
    return op.Reshape(score, [-1, len(masks)])


def _tail(build: Build, value: str, variants: str, count: int) -> str:
    """What the model computes of the target's value from `variants` (N * count, ...) of `value`."""
    of = build.problem.target.of
    model = build.batched()
    model = upgraded(model, GRADIENT_OPSET)
    below = {value, *outputs_of(behind(model, [value]))}
    if of not in below:
        raise Disconnected(f"{of!r} does not depend on {value!r}: choose a layer before it")
    feeds: dict[str, str] = {value: variants}
    waiting, seen = [of], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name in feeds or name in model.initializers:
            continue
        seen.add(name)
        node = model.producer(name)
        dtype = model.value(name).dtype
        rank = model.value(name).rank
        if node is None:
            feeds[name] = build.repeated_input(name, count)
        elif name not in below and dtype is not None and dtype.kind == "f" and rank and _has_batch(model, name):
            # A value that goes around the layer keeps what it was; what is computed of sizes is computed anew.
            feeds[name] = build.repeated(name, count)
        else:
            waiting.extend(reads(node))
    names = list(feeds)
    try:
        part = extract(model, outputs=[to_info(model.value(of))], inputs=[to_info(model.value(n)) for n in names])
    except ShapeError as error:
        raise MethodError(f"the network behind {value!r} cannot be run by itself: {error}") from None
    (y,) = build.copy(part, feeds, [of])
    return y


def _has_batch(model: Model, name: str) -> bool:
    """Whether the value's first axis may be the batch: not a size that is fixed to something else."""
    shape = model.value(name).shape
    return shape is None or (len(shape) > 0 and not isinstance(shape[0], int))
