"""Attention maps of a transformer, found in its graph: the weights with which every token takes from every other.

    softmax(queries keys^T) -> (.., heads, T, T) -> times values (.., heads, T, d)

Exporters write this in many ways; what they share is a Softmax whose result, moved about at most, is the left factor of
a product with values that are computed too, summed over the axis along which the softmax adds up to one. Operators that
hold a whole attention (the standard's `Attention`, ONNX Runtime's own) keep the map to themselves and are written out
in simpler ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...attribution.maps import GridMaps, Maps
from ...autodiff.decompose import written_out
from ...caches import of_model
from ...errors import MethodError
from ...graph.model import Model
from ...inspect.attention import Attention, attentions, rank_of
from ...inspect.position_trace import Trace, trace
from ...proto.nodes import label
from .advice import advised_at_layers

if TYPE_CHECKING:
    from ...attribution.problem import Problem
    from ...inspect.token_grid import Positions

# Operators that hold a whole attention.
_FUSED = frozenset(
    """Attention MultiHeadAttention PackedAttention PackedMultiHeadAttention GroupQueryAttention LongformerAttention
    DecoderAttention DecoderMaskedMultiHeadAttention QAttention QOrderedAttention SparseAttention PagedAttention
    MultiHeadAttentionDecoder""".split()
)


class NoAttentionMaps(MethodError):
    """The network has no attention maps to follow through all layers."""


@dataclass(frozen=True)
class Tokens:
    """What the tokens of a transformer are. `count` of them; `grid` (h, w): which of them lie at each cell of the
    image, None where they are no patches of an image.
    """

    count: int
    grid: NDArray[np.int64] | None


@dataclass(frozen=True)
class AttentionMaps:
    """The attention of one problem.

    problem: the one to ask for gradients: its model has the attention maps as values. layers: first to last.
    weights: per layer, float32 (N, heads, T, T): row q holds what query q takes from every token.
    """

    problem: Problem
    layers: tuple[Attention, ...]
    weights: tuple[NDArray[np.float32], ...]
    tokens: Tokens


def attention_maps(problem: Problem, method: str, start: int = 0) -> AttentionMaps:
    """The attention maps that the target depends on, from attention number `start` on, at the clean input.

    Raises MethodError where there are none, where they are not square, or belong to windows of the image.
    """
    try:
        return _attention_maps(problem, method, start)
    except NoAttentionMaps as error:
        raise MethodError(f"{error}: use {advised_at_layers(problem)}, which need no attention maps") from None


def _attention_maps(problem: Problem, method: str, start: int) -> AttentionMaps:
    model = _unfused(problem.source, method)
    problem = problem.on(model)
    before = problem.model.ancestors(problem.target.of)
    layers = [a for a in attentions(problem.model) if a.value in before]
    if not layers:
        raise NoAttentionMaps(
            f"{method} needs attention maps, and {problem.target.of!r} depends on none: in this graph no Softmax "
            f"weighs tokens"
        )
    if start >= len(layers):
        raise MethodError(
            f"{method}: start={start}, but there are {len(layers)} attention layers: give at most {len(layers) - 1}"
        )
    layers = layers[start:]
    _check_windows(problem.model, layers, method)
    found = problem.runs.activations([layer.value for layer in layers])
    weights = tuple(in_heads(found[a.value], a, rank_of(problem.model, a.value), method) for a in layers)
    count = weights[0].shape[-1]
    for layer, array in zip(layers, weights, strict=True):
        if array.shape[-1] != count:
            raise NoAttentionMaps(
                f"{method} follows tokens through all layers, but the attention {layer.name} has {array.shape[-1]} of "
                f"them and {layers[0].name} {count}"
            )
    return AttentionMaps(problem, tuple(layers), weights, _tokens(problem, layers[0], count))


def gradient_maps(maps: AttentionMaps, method: str) -> tuple[NDArray[np.float32], ...]:
    """The gradient of the target's score by every layer's attention map, (R, heads, T, T), first layer first."""
    names = [layer.value for layer in maps.layers]
    found = maps.problem.gradients.by(names)
    model = maps.problem.model
    return tuple(in_heads(found[a.value], a, rank_of(model, a.value), method) for a in maps.layers)


def token_maps(maps: AttentionMaps, rows: NDArray[np.float64], read: str) -> Maps:
    """What a method returns for (R, T) numbers, one per token: on the image's patches where tokens are those, side
    by side where the input is a sequence of as many, else as they are.
    """
    problem, tokens = maps.problem, maps.tokens
    layers = f"{len(maps.layers)} attention layer{'s' * (len(maps.layers) > 1)}"
    reason = f"{layers}, read at {read}"
    values = np.asarray(rows, np.float32)
    if tokens.grid is not None:
        return GridMaps(values[:, tokens.grid], display="positive", reason=reason)
    shape = problem.input.x.shape[1:]
    plane = None
    if problem.input.axes is None and shape[:1] == (tokens.count,):
        plane = values[:, None] if len(shape) == 1 else np.repeat(values[:, :, None], shape[1], axis=2)
    return GridMaps(values, display="positive", reason=reason, plane=plane)


def in_heads(array: NDArray[np.generic], layer: Attention, rank: int | None, method: str) -> NDArray[np.float32]:
    """A layer's attention value (N, ...), or its gradient, as (N, heads, T, T). Raises MethodError."""
    moved = np.moveaxis(array, (layer.query, layer.key), (-2, -1))
    if moved.ndim > 4 and rank is not None and rank > 3 and moved.ndim > rank:
        raise _windows(layer, method)
    if moved.shape[-2] != moved.shape[-1]:
        raise NoAttentionMaps(
            f"{method} needs as many queries as keys, but the attention {layer.name} weighs {moved.shape[-1]} keys for "
            f"{moved.shape[-2]} queries (reduced keys, cross-attention or attention pooling)"
        )
    return np.asarray(moved.reshape(len(array), -1, *moved.shape[-2:]), np.float32)


# ---- operators that hold a whole attention


@of_model
def _unfused(model: Model, method: str) -> Model:
    """The model with whole attentions written out. Raises MethodError for one that has no such form here."""
    plain, whole = written_out(model, _is_fused)
    if whole:
        raise NoAttentionMaps(
            f"{method} needs attention maps, and node {label(whole[0])} keeps its own inside: save the model "
            f"without ONNX Runtime's attention fusion"
        )
    return plain


def _is_fused(node: NodeProto) -> bool:
    return node.op_type in _FUSED


# ---- tokens


def _check_windows(model: Model, layers: Sequence[Attention], method: str) -> None:
    """Raises MethodError where attention stays inside windows of the image."""
    found = trace(model)
    for layer in layers:
        shape, positions = found.shapes.get(layer.value), found.positions.get(layer.values)
        if shape is not None and len(shape) > 3 and shape[0] != 1:
            raise _windows(layer, method)
        if positions is not None and positions.shape[layer.values_axis] > 1:
            sizes = list(positions.shape[1:])
            del sizes[layer.values_axis]
            if any(size > 1 for size in sizes):
                raise _windows(layer, method)


def _windows(layer: Attention, method: str) -> NoAttentionMaps:
    return NoAttentionMaps(
        f"{method} follows tokens through the whole image, but the attention {layer.name} stays inside windows of it "
        f"(a Swin transformer, for instance)"
    )


def _tokens(problem: Problem, layer: Attention, count: int) -> Tokens:
    found = trace(problem.model)
    grid, shape = found.tokens(layer.values, layer.values_axis), found.shapes.get(layer.values)
    if grid is None or shape is None or shape[layer.values_axis] == count:
        return Tokens(count, grid)
    # Another image size than the one that positions were followed for: patches row by row, in the image's proportions.
    placed = count - (shape[layer.values_axis] - grid.size)
    plane, flat = problem.input.plane, grid.ravel()
    if plane is not None and bool((np.diff(flat) == 1).all()):
        height = round((placed * plane[0] / plane[1]) ** 0.5)
        if height > 1 and placed % height == 0:
            return Tokens(count, int(flat[0]) + np.arange(placed).reshape(height, -1))
    return Tokens(count, None)


def read_tokens(maps: AttentionMaps, token: int | None, method: str) -> tuple[NDArray[np.float32], str]:
    """(R, T): how much the target reads of every token after the last attention, rows summing to 1; and in words.

    `token` as given by the user, else followed from the last attention to the target: the class token where only that
    is read, the mean over the tokens where they are averaged. Raises MethodError if that is unknown.
    """
    problem, count = maps.problem, maps.tokens.count
    if token is not None:
        if not -count <= token < count:
            raise MethodError(f"{method}: token={token}, but there are {count} tokens: give 0 to {count - 1}")
        return _only([token % count], problem.rows, count), f"token {token % count}, as given"
    last = maps.layers[-1]
    follow, known = _followed(problem.model, last)
    before = problem.model.ancestors(problem.target.of) | {problem.target.of}
    nodes = problem.model.graph.node
    for index, name in sorted(follow.mixed):
        if any(output in before for output in nodes[index].output):
            read = _at_length(_numbers(follow.positions[name], known), known, count)
            return _only(read, problem.rows, count), f"the mean over {len(read)} tokens, which the answer mixes"
    positions = follow.positions.get(problem.target.of)
    if positions is not None and not np.isnan(positions).any():
        picked = _picked(problem.model, follow, problem.target.of, known)
        if len(picked) > 1:
            read = [_at_length([token], known, count)[0] for token in picked]
            return _only(read, problem.rows, count), f"the mean over {len(read)} tokens, which the answer mixes"
        return _by_element(problem, positions, known, count)
    grid = maps.tokens.grid
    free = [] if grid is None else [t for t in range(count) if t not in set(grid.ravel().tolist())]
    if len(free) == 1:
        return _only(free, problem.rows, count), f"token {free[0]}, the only one that is not a patch of the image"
    raise MethodError(
        f"{method} cannot see which tokens {problem.target.of!r} reads after the attention {last.name}: name one with "
        f"the option token, 0 to {count - 1} (a class token mostly comes first)"
    )


def _followed(model: Model, layer: Attention) -> tuple[Trace, int]:
    """Where every value behind the attention has its tokens from: token t of T at (t + 0.5) / T."""
    shape = trace(model).shapes.get(layer.product)
    if shape is None:
        return Trace(model, {}), 0
    count = shape[layer.product_axis]
    line = [1] * len(shape)
    line[layer.product_axis] = count
    along = ((np.arange(count, dtype=np.float32) + 0.5) / count).reshape(1, *line)
    return Trace(model, {layer.product: np.concatenate([along, np.full_like(along, 0.5)])}), count


def _picked(model: Model, follow: Trace, of: str, known: int) -> list[int]:
    """The tokens that were picked out, one by one, on the way to `of`: two where a head looks at each of two tokens."""
    found: set[int] = set()
    waiting, seen = [of], {of}
    while waiting:
        value = waiting.pop()
        node, positions = model.producer(value), follow.positions[value]
        if node is None or positions.size > 2:
            continue
        inputs = [name for name in node.input if name in follow.positions]
        if not inputs or any(follow.positions[name].size > 2 for name in inputs):
            found.update(_numbers(positions, known))
        else:
            waiting.extend(name for name in inputs if name not in seen)
            seen.update(inputs)
    return sorted(found)


def _numbers(positions: Positions, count: int) -> list[int]:
    """The tokens that positions name."""
    known = positions[0][~np.isnan(positions[0])]
    return sorted(set(np.rint(known.ravel() * count - 0.5).astype(int).tolist()))


def _only(tokens: Sequence[int], rows: int, count: int) -> NDArray[np.float32]:
    weights = np.zeros((rows, count), np.float32)
    weights[:, list(tokens)] = 1 / len(tokens)
    return weights


def _at_length(tokens: Sequence[int], known: int, count: int) -> list[int]:
    """Consecutive tokens of a sequence of `known` in one of `count`: counted from the end that they are nearer to."""
    if known == count:
        return list(tokens)
    first, last = (t if 2 * t < known else count - (known - t) for t in (tokens[0], tokens[-1]))
    return list(range(max(first, 0), last + 1))


def _by_element(problem: Problem, positions: Positions, known: int, count: int) -> tuple[NDArray[np.float32], str]:
    """Every element of the explained value comes from one token: those of the elements in the score."""
    size = np.abs(problem.cotangents).astype(np.float64)
    token = np.rint(positions[0] * known - 0.5).astype(np.int64)
    numbers = sorted(set(token.ravel().tolist()))
    if len(numbers) == 1:
        token = np.full_like(token, _at_length(numbers, known, count)[0])
    elif known != count and numbers == list(range(known)) and token.size == known:
        token = np.arange(count).reshape([count if n > 1 else 1 for n in token.shape])
    if any(n not in (1, s) for n, s in zip(token.shape, size.shape, strict=True)):
        raise MethodError(f"{problem.target.of!r} has another shape than it was followed for: name a token with token=")
    number = np.broadcast_to(token, size.shape)
    weights = np.zeros((problem.rows, count))
    for row in range(problem.rows):
        np.add.at(weights[row], number[row].ravel(), size[row].ravel())
    total = weights.sum(axis=1, keepdims=True)
    read = np.flatnonzero(weights.any(axis=0))
    words = f"token {read[0]}, which the answer reads" if len(read) == 1 else f"{len(read)} tokens that targets read"
    return np.asarray(weights / np.where(total > 0, total, 1), np.float32), words
