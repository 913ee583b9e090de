"""Trial runs: what shape inference cannot know, a run shows.

The model runs twice on seeded random inputs, with a different size for every symbolic dimension, and shows the values
whose type or shape is open. A size that is the same in both runs is fixed; one that moves like the dimension of an
input is that dimension; anything else stays unknown. Integers that are computed from sizes alone and come out the same
twice are constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from ..errors import OnnxrayError, ShapeError
from ..proto.categories import category
from ..proto.nodes import reads
from ..proto.values import Shape, elem_of, shape_of, tensor_type
from ..runtime.trial import trial_runner
from .graph_types import GraphTypes

# Sizes to try for the first, second, ... symbolic dimension that is no batch; networks differ in what they accept. The
# batch grows by 3, which no power of 2 makes of the others' growth: what strides leave of them is not taken for it.
_SIZES = ((64, 96, 128, 160), (16, 24, 32, 40), (8, 9, 10, 11), (224, 256, 288, 320))
_BATCHES = ((2, 5), (1, 1))
_ONLY_BATCHES = ((2, 3), (1, 1))
_MOST_ELEMENTS = 1 << 22


def learn(known_types: GraphTypes) -> None:
    """Learn by a trial run what the inference left open; once per graph."""
    if not known_types.trials:
        known_types.trials = 1
        _learn(known_types)


def _learn(known_types: GraphTypes) -> None:
    """Add to the types and integers that are known what two trial runs show; nothing if the model does not run."""
    nodes = known_types.nodes
    computed = [o for n in nodes for o in n.output if o]
    sized = _from_sizes(known_types, nodes)
    wanted = [o for o in computed if o in sized or _open(known_types, shape_of(known_types.types.get(o)))]
    if not wanted:
        return
    try:
        run = trial_runner(known_types.proto(wanted), known_types.model.folder, wanted)
    except OnnxrayError:
        return  # the runtime does not load it
    fixed = _fixed(known_types)
    for plan in _plans(known_types, fixed):
        try:
            seen = [run(_feeds(known_types, sizes, seed)) for seed, sizes in enumerate(plan)]
        except OnnxrayError:
            continue  # these sizes do not fit the model: try the next ones
        break
    else:
        return
    free = [s for s in plan[0] if s not in fixed]
    varied = all(plan[0][s] != plan[1][s] for s in free)
    # A size of 1 may be what strides leave of a small input: with more than the batch to vary, it proves nothing.
    only_batch = all(known_types.sources[s][1] == 0 for s in free)
    # Two dimensions that were given the same sizes cannot be told apart: neither is recognised.
    pairs = [(plan[0][s], plan[1][s]) for s in free]
    symbols = {pair: s for pair, s in zip(pairs, free, strict=True) if pairs.count(pair) == 1 and pair[0] != pair[1]}
    by_content = _sized_by_content(known_types, nodes)
    for name in wanted:
        first, second = seen[0].get(name), seen[1].get(name)
        if not isinstance(first, np.ndarray) or not isinstance(second, np.ndarray):
            continue
        known = shape_of(known_types.types.get(name))
        if first.ndim == second.ndim and first.dtype.kind != "O":
            shape: Shape = tuple(
                (a if varied and (a > 1 or only_batch) else None) if a == b else symbols.get((a, b))
                for a, b in zip(first.shape, second.shape, strict=True)
            )
            if name in by_content:
                shape = (None,) * first.ndim
            if known is not None and len(known) == len(shape):
                closed = [isinstance(k, int) or k in known_types.sources for k in known]
                shape = tuple(k if c or s is None else s for k, s, c in zip(known, shape, closed, strict=True))
            elem = elem_of(known_types.types.get(name)) or onnx.helper.np_dtype_to_tensor_dtype(first.dtype)
            known_types.types[name] = tensor_type(elem, shape)
        if varied and name in sized and np.array_equal(first, second):
            known_types.integers[name] = first


def _open(known_types: GraphTypes, shape: Shape | None) -> bool:
    """Whether there is a size that is neither a number nor an input's dimension."""
    return shape is None or any(not isinstance(d, int) and d not in known_types.sources for d in shape)


# Inputs that say which sizes the output has.
_SAY_SIZES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "CenterCropPad", "TopK", "OneHot"), (1,)),
    **dict.fromkeys(("Split", "Upsample"), (1,)),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (2, 3),
    "Col2Im": (1, 2),
    "MaxUnpool": (2,),
    "STFT": (1, 3),
    "DFT": (1,),
}


def _sized_by_content(known_types: GraphTypes, nodes: list[NodeProto]) -> set[str]:
    """Values whose sizes depend on numbers that are fed as an input of their own, such as axes or a shape.

    Runs on two such numbers prove nothing for others.
    """
    fed = {info.name for info in known_types.inputs if elem_of(info.type) in _WHOLE and _is_short(shape_of(info.type))}
    found: set[str] = set()
    if not fed:
        return found
    for node in nodes:
        places = _SAY_SIZES.get(node.op_type, (1,) if node.op_type.startswith("Reduce") else ())
        said = any(place < len(node.input) and node.input[place] in fed for place in places)
        if said or any(name in found for name in reads(node)):
            found.update(o for o in node.output if o)
        if node.op_type not in ("Shape", "Size") and any(name in fed for name in reads(node)):
            fed.update(o for o in node.output if o and elem_of(known_types.types.get(o)) in _WHOLE)
    return found


_WHOLE = frozenset((TensorProto.INT64, TensorProto.INT32))
_FEW = 16


def _is_short(shape: Shape | None) -> bool:
    return shape is None or (len(shape) < 2 and all(not isinstance(d, int) or d <= _FEW for d in shape))


def _from_sizes(known_types: GraphTypes, nodes: list[NodeProto]) -> set[str]:
    """Integer values that depend on constants and on sizes only, never on what is in a tensor."""
    pure = {name for name in known_types.stored if name not in known_types.fed}
    random = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
    for node in nodes:
        if node.op_type in ("Shape", "Size") or (node.op_type not in random and all(i in pure for i in reads(node))):
            pure.update(o for o in node.output if o)
    integers = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
    return {o for n in nodes for o in n.output if o in pure and elem_of(known_types.types.get(o)) in integers}


def _fixed(known_types: GraphTypes) -> dict[str, int]:
    """Symbolic dimensions whose size the weights dictate: channels of a convolution, rows of a matrix, ..."""
    found: dict[str, int] = {}

    def learn(name: str, axis: int, size: int) -> None:
        shape = shape_of(known_types.types.get(name)) or ()
        dim = shape[axis] if -len(shape) <= axis < len(shape) else None
        if isinstance(dim, str) and dim in known_types.sources:
            found.setdefault(dim, size)

    for node in known_types.nodes:
        sizes = [known_types.stored[n].dims if n in known_types.stored else None for n in node.input]
        flags = {a.name: a.i for a in node.attribute}
        if len(sizes) < 2 or sizes[1] is None:
            continue
        first, other = node.input[0], list(sizes[1])
        if node.op_type == "Conv":
            learn(first, 1, other[1] * flags.get("group", 1))
        elif node.op_type in ("ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization"):
            learn(first, 1, other[0])
        elif node.op_type == "MatMul" and len(other) > 1:
            learn(first, -1, other[-2])
        elif node.op_type == "Gemm":
            learn(first, 0 if flags.get("transA") else 1, other[1 if flags.get("transB") else 0])
        elif node.op_type in ("Add", "Sub", "Mul", "Div"):
            for axis, size in enumerate(other, -len(other)):
                if size > 1:
                    learn(first, axis, size)
    return found


def _plans(known_types: GraphTypes, fixed: Mapping[str, int]) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Pairs of sizes for every symbolic dimension, most telling first."""
    symbols = [s for s in known_types.sources if s not in fixed]
    batch = [s for s in symbols if known_types.sources[s][1] == 0]
    others = [s for s in symbols if s not in batch]
    tried = []
    for sizes in _SIZES if others else _SIZES[:1]:
        ring = len(sizes)
        first = {s: sizes[i % ring] for i, s in enumerate(others)}
        moved = {s: sizes[(i + 1) % ring] for i, s in enumerate(others)}
        tried.append((first, moved))
    tried.extend((dict.fromkeys(others, a), dict.fromkeys(others, b)) for (a, b, *_) in _SIZES if len(others) > 1)
    tried.extend((dict.fromkeys(others, a), dict.fromkeys(others, a)) for (a, *_) in _SIZES if others)
    for low, high in _BATCHES if others else _ONLY_BATCHES:
        if low == high and not batch:
            break
        for first, second in tried:
            yield {**fixed, **dict.fromkeys(batch, low), **first}, {**fixed, **dict.fromkeys(batch, high), **second}


def _feeds(known_types: GraphTypes, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in known_types.inputs:
        if info.name in known_types.stored:
            continue
        elem = elem_of(info.type)
        shape = tuple(sizes[d] if isinstance(d, str) else int(d or 1) for d in shape_of(info.type) or ())
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem))
        if math.prod(shape) > _MOST_ELEMENTS:
            raise ShapeError(f"input {info.name!r} of shape {shape} is too large for a trial run")
        if elem == TensorProto.STRING:
            feeds[info.name] = np.full(shape, category(known_types.nodes, info.name), object)
        elif elem == TensorProto.BOOL:
            feeds[info.name] = np.ones(shape, bool)
        elif dtype.kind in "iu":
            feeds[info.name] = rng.integers(0, 2, shape).astype(dtype)
        else:
            feeds[info.name] = rng.uniform(0, 1, shape).astype(dtype)
    return feeds
