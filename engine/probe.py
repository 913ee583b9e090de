"""Trial runs: what shape inference cannot know, a run shows.

The model runs twice on seeded random inputs, with a different size for every symbolic dimension, and shows the values
whose type or shape is open. A size that is the same in both runs is fixed; one that moves like the dimension of an
input is that dimension; anything else stays unknown. Integers that are computed from sizes alone and come out the same
twice are constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from .errors import OnnxrayError
from .graph import Model
from .knowledge import Knowledge, elem_of, shape_of, tensor_type
from .nodes import reads
from .session import run
from .value import Shape

# Sizes to try for the first, second, ... symbolic dimension that is no batch; networks differ in what they accept.
_SIZES = ((64, 96, 128, 160), (224, 256, 288, 320), (16, 24, 32, 40), (8, 9, 10, 11), (512, 640, 768, 896))
_BATCHES = ((2, 3), (1, 1))
_LONGEST = 1 << 16


def probe(knowledge: Knowledge) -> None:
    """Add to `knowledge.types` and `knowledge.integers` what two trial runs show; nothing if the model does not run."""
    nodes = knowledge.nodes
    computed = [o for n in nodes for o in n.output if o]
    sized = _from_sizes(knowledge, nodes)
    wanted = [o for o in computed if o in sized or _open(shape_of(knowledge.types.get(o)))]
    if not wanted:
        return
    model = Model(knowledge.proto(wanted), folder=knowledge.model.folder)
    for plan in _plans(knowledge):
        try:
            seen = [run(model, _feeds(knowledge, sizes, seed), wanted) for seed, sizes in enumerate(plan)]
        except OnnxrayError:
            continue  # these sizes do not fit the model: try the next ones
        break
    else:
        return
    varied = all(plan[0][s] != plan[1][s] for s in plan[0])
    symbols = {(plan[0][s], plan[1][s]): s for s in reversed(plan[0]) if plan[0][s] != plan[1][s]}
    for name in wanted:
        first, second = seen[0].get(name), seen[1].get(name)
        if not isinstance(first, np.ndarray) or not isinstance(second, np.ndarray):
            continue
        known = shape_of(knowledge.types.get(name))
        if first.ndim == second.ndim and first.dtype.kind != "O":
            shape: Shape = tuple(
                (a if varied else None) if a == b else symbols.get((a, b))
                for a, b in zip(first.shape, second.shape, strict=True)
            )
            if known is not None and len(known) == len(shape):
                shape = tuple(s if k is None else k for k, s in zip(known, shape, strict=True))
            elem = elem_of(knowledge.types.get(name)) or onnx.helper.np_dtype_to_tensor_dtype(first.dtype)
            knowledge.types[name] = tensor_type(elem, shape)
        if varied and name in sized and np.array_equal(first, second):
            knowledge.integers[name] = first


def _open(shape: Shape | None) -> bool:
    return shape is None or None in shape


def _from_sizes(knowledge: Knowledge, nodes: list[NodeProto]) -> set[str]:
    """Integer values that depend on constants and on sizes only, never on what is in a tensor."""
    pure = {name for name in knowledge.stored if name not in knowledge.fed}
    random = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
    for node in nodes:
        if node.op_type in ("Shape", "Size") or (node.op_type not in random and all(i in pure for i in reads(node))):
            pure.update(o for o in node.output if o)
    integers = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
    return {o for n in nodes for o in n.output if o in pure and elem_of(knowledge.types.get(o)) in integers}


def _plans(knowledge: Knowledge) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Pairs of sizes for every symbolic dimension, most telling first."""
    symbols = list(knowledge.sources)
    batch = [s for s in symbols if knowledge.sources[s][1] == 0]
    others = [s for s in symbols if s not in batch]
    tried = []
    for sizes in _SIZES if others else _SIZES[:1]:
        ring = len(sizes)
        first = {s: sizes[i % ring] for i, s in enumerate(others)}
        moved = {s: sizes[(i + 1) % ring] for i, s in enumerate(others)}
        tried.append((first, moved))
    tried.extend((dict.fromkeys(others, a), dict.fromkeys(others, b)) for (a, b, *_) in _SIZES if len(others) > 1)
    tried.extend((dict.fromkeys(others, a), dict.fromkeys(others, a)) for (a, *_) in _SIZES if others)
    for low, high in _BATCHES:
        if low == high and not batch:
            break
        for first, second in tried:
            yield {**dict.fromkeys(batch, low), **first}, {**dict.fromkeys(batch, high), **second}


def _feeds(knowledge: Knowledge, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in knowledge.inputs:
        if info.name in knowledge.stored:
            continue
        elem = elem_of(info.type)
        shape = tuple(sizes[d] if isinstance(d, str) else int(d or 1) for d in shape_of(info.type) or ())
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem))
        if int(np.prod(shape, dtype=np.int64)) > _LONGEST * 4096:
            raise OnnxrayError(f"input {info.name!r} of shape {shape} is too large for a trial run")
        if elem == TensorProto.STRING:
            feeds[info.name] = np.full(shape, "a", object)
        elif elem == TensorProto.BOOL:
            feeds[info.name] = np.ones(shape, bool)
        elif dtype.kind in "iu":
            feeds[info.name] = rng.integers(0, 2, shape).astype(dtype)
        else:
            feeds[info.name] = rng.uniform(0, 1, shape).astype(dtype)
    return feeds
