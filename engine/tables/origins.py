"""Which columns of a table each number inside a model is made of: through encoders, scalers and what joins them.

A value (N, ...) has one boolean for each of its numbers and each column. An operator that is not known is taken to make
all its numbers of all that it reads, which is safe: nothing is found to depend on one column that depends on two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..graph.model import Model
from ..proto.attributes import attributes

Origins = NDArray[np.bool_]
# Number by number, with the usual broadcasting.
_ELEMENTWISE = frozenset(
    """Identity Cast CastLike Abs Neg Exp Log Sqrt Reciprocal Floor Ceil Round Sign Not IsNaN IsInf Relu Sigmoid Tanh
    Erf Clip Add Sub Mul Div Pow Mod Min Max Sum Mean Where Equal Less Greater LessOrEqual GreaterOrEqual And Or Xor
    Scaler Imputer Binarizer LabelEncoder CategoryMapper Dropout LeakyRelu Elu Softplus StringNormalizer""".split()
)
_RESHAPED = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))


def origins_of(
    model: Model, wanted: str, table: str, count: int, values: Mapping[str, NDArray[Any]]
) -> dict[str, Origins]:
    """Of each value on the way to `wanted` that depends on the input `table` (N, count): bool (..., count), the columns
    that each of its numbers for one row is made of.

    values: all of them, of some rows, for their shapes.
    """
    samples = len(values[table])
    known: dict[str, Origins] = {table: np.eye(count, dtype=bool)}
    needed = model.ancestors(wanted) | {wanted}
    for node in model.graph.node:
        for name in node.output:
            if name not in needed or name not in values:
                continue
            given = [known.get(i) for i in node.input]
            if any(part is not None for part in given):
                known[name] = _through(model, node, name, given, values, samples, count)
    return known


def of_one_column(origins: Origins) -> bool:
    """Whether each number of a value is made of one column at most."""
    return bool((origins.sum(axis=-1) <= 1).all())


def _through(
    model: Model,
    node: NodeProto,
    name: str,
    given: list[Origins | None],
    values: Mapping[str, NDArray[Any]],
    samples: int,
    count: int,
) -> Origins:
    """Those of an output of a node."""
    array = values[name]
    shape = array.shape[1:] if array.ndim and array.shape[0] == samples else array.shape
    whole = array.ndim > 0 and array.shape[0] == samples
    read = [np.zeros((1, count), bool) if part is None else part for part in given]
    if whole:
        for rule in (_elementwise, _moved, _chosen, _joined, _multiplied):
            found = rule(model, node, name, read, given, shape)
            if found is not None and found.shape == (*shape, count):
                return found
    together = np.zeros(count, bool)
    for part in read:
        together |= part.reshape(-1, count).any(axis=0)
    return np.array(np.broadcast_to(together, (*shape, count)), bool)


def _elementwise(
    model: Model, node: NodeProto, name: str, read: list[Origins], given: list[Origins | None], shape: tuple[int, ...]
) -> Origins | None:
    count = read[0].shape[-1]
    if node.op_type == "OneHotEncoder":
        # The categories of a number are an axis of their own, or, of one column, in its place.
        own = read[0] if read[0].shape[:-1] == shape[:-1] else None
        return None if own is None else np.repeat(own[..., None, :], shape[-1], axis=-2)
    if node.op_type not in _ELEMENTWISE:
        return None
    result = np.zeros((*shape, count), bool)
    for part, is_given in zip(read, given, strict=True):
        if is_given is None:
            continue
        # A row's numbers stand at the end of the axes, as broadcasting has it: the batch is in front of all alike.
        if part.ndim - 1 != len(shape):
            return None
        result |= part
    return result


def _moved(
    model: Model, node: NodeProto, name: str, read: list[Origins], given: list[Origins | None], shape: tuple[int, ...]
) -> Origins | None:
    count = read[0].shape[-1]
    if node.op_type in _RESHAPED:
        return read[0].reshape(*shape, count) if read[0].size == np.prod(shape, dtype=np.int64) * count else None
    if node.op_type == "Transpose":
        perm = list(attributes(node).get("perm", ()))
        rank = read[0].ndim  # of a row, its columns included: as many axes as the value has
        if perm and perm[0] == 0 and len(perm) == rank:
            return np.asarray(np.transpose(read[0], [*(axis - 1 for axis in perm[1:]), rank - 1]), bool)
    return None


def _axis(node: NodeProto, rank: int, usual: int = 0) -> int:
    """The axis of an operator counted in a row, so that -1 is that of samples."""
    axis = int(attributes(node).get("axis", usual))
    return (axis + rank if axis < 0 else axis) - 1


def _chosen(
    model: Model, node: NodeProto, name: str, read: list[Origins], given: list[Origins | None], shape: tuple[int, ...]
) -> Origins | None:
    kind, rank = node.op_type, read[0].ndim
    if kind in ("Gather", "ArrayFeatureExtractor") and given[0] is not None:
        at = model.constant(node.input[1])
        axis = _axis(node, rank) if kind == "Gather" else rank - 2
        if at is None or axis < 0:
            return None
        return np.take(read[0], at.reshape(-1) if kind != "Gather" else at, axis=axis)
    if kind == "Split" and given[0] is not None:
        axis = _axis(node, rank)
        if axis < 0:
            return None
        place = list(node.output).index(name)
        sizes = _sizes(model, node, read[0].shape[axis])
        start = sum(sizes[:place])
        return np.take(read[0], range(start, start + sizes[place]), axis=axis)
    if kind == "Slice" and given[0] is not None:
        return _sliced(model, node, read[0])
    return None


def _sizes(model: Model, node: NodeProto, total: int) -> list[int]:
    said = attributes(node).get("split")
    if said is None and len(node.input) > 1 and node.input[1]:
        constant = model.constant(node.input[1])
        said = None if constant is None else constant.tolist()
    count = len(node.output)
    even = -(-total // count)
    return list(said) if said is not None else [min(even, total - even * i) for i in range(count)]


def _sliced(model: Model, node: NodeProto, part: Origins) -> Origins | None:
    own = attributes(node)
    named: dict[str, Any] = {}
    for place, key in enumerate(("starts", "ends", "axes", "steps"), 1):
        constant = model.constant(node.input[place]) if len(node.input) > place and node.input[place] else None
        named[key] = own.get(key) if constant is None else constant.tolist()
    if named["starts"] is None or named["ends"] is None:
        return None
    rank = part.ndim
    axes = named["axes"] if named["axes"] is not None else list(range(len(named["starts"])))
    steps = named["steps"] or [1] * len(axes)
    index: list[Any] = [slice(None)] * rank
    for start, end, axis, step in zip(named["starts"], named["ends"], axes, steps, strict=True):
        place = (axis + rank if axis < 0 else axis) - 1
        if place < 0:
            return None
        index[place] = slice(start, end if abs(end) < 1 << 31 else None, step)
    return np.asarray(part[tuple(index)], bool)


def _joined(
    model: Model, node: NodeProto, name: str, read: list[Origins], given: list[Origins | None], shape: tuple[int, ...]
) -> Origins | None:
    count = read[0].shape[-1]
    if node.op_type == "FeatureVectorizer":
        return np.asarray(np.concatenate([part.reshape(-1, count) for part in read]), bool)
    if node.op_type != "Concat" or any(part is None for part in given):
        return None
    axis = _axis(node, read[0].ndim)
    return np.concatenate(read, axis=axis) if axis >= 0 and len({part.ndim for part in read}) == 1 else None


def _multiplied(
    model: Model, node: NodeProto, name: str, read: list[Origins], given: list[Origins | None], shape: tuple[int, ...]
) -> Origins | None:
    """A matrix of constants makes each of its numbers of those whose weight is not 0."""
    if node.op_type not in ("MatMul", "Gemm") or given[0] is None or read[0].ndim != 2:
        return None
    weight = model.constant(node.input[1])
    own = attributes(node)
    if weight is None or weight.ndim != 2 or own.get("transA"):
        return None
    used = (weight.T if own.get("transB") else weight) != 0
    return np.asarray((used[:, :, None] & read[0][:, None, :]).any(axis=0), bool)
