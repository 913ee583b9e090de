"""Give a model that was exported for images of one size a free height and width, if that provably changes nothing else.

The proof walks the graph once. A value *carries the picture* if two of its axes run along the height and the width of
the image; every other value has the same shape at any size. The image does; an operator hands this on if it has a rule
(`rules.py`) and computes the same way at every size. Where the size is written into an argument (the shape of a
Reshape, the sizes of a Resize), the argument is rewritten. Any other operator that reads the picture (a dense layer
over all places, position embeddings) ends the proof. At the size of the export the result gives what the model gives.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto, ValueInfoProto

from ...errors import ModelError, ShapeError
from ...proto.arguments import Unreadable
from ...proto.edit import copied
from ...proto.nodes import label, plain_domain, reads
from ..model import Model
from . import rules  # noqa: F401 (they register themselves)
from .proof import RULES, Places, SizeRefused, Walk

_NAMES = ("height", "width")


def free_size(model: Model, image: str, axes: Places) -> Model:
    """`model` with the axes of height and width of its input `image` made free; itself if they are free already.

    Cut the model at the values of interest first (`expose(..., only=True)`): what comes after them has no say then.
    Raises ShapeError, naming the node that prevents it.
    """
    shape = model.value(image).shape
    if shape is None or not any(isinstance(shape[axis], int) for axis in axes):
        return model
    walk = Walk(model)
    walk.places[image] = axes
    size = "x".join(str(shape[axis]) for axis in axes)
    for node in model.graph.node:
        if any(name in walk.places for name in reads(node)):
            _step(walk, node, size)
        else:
            walk.add(node)
    made = model.with_graph(_rewritten(model, walk))
    _check(made, walk, size)
    return made


def _step(walk: Walk, node: NodeProto, size: str) -> None:
    found = RULES.get((plain_domain(node.domain), node.op_type))
    where = f"the size {size} of the image cannot be changed: "
    if found is None:
        raise ShapeError(f"{where}node {label(node)} may do something of its own at that size")
    try:
        found(walk, node)
    except (SizeRefused, Unreadable, ModelError) as refused:
        raise ShapeError(f"{where}at node {label(node)} {refused}") from None


def _rewritten(model: Model, walk: Walk) -> GraphProto:
    taken = {d for v in model.values.values() for d in v.shape or () if isinstance(d, str)}
    symbols = tuple(_untaken(name, taken) for name in _NAMES)
    graph = copied(model.graph)
    del graph.node[:]
    graph.node.extend(walk.nodes)
    graph.initializer.extend(walk.initializers.values())
    for info in graph.input:
        if info.name in walk.places:
            for axis, symbol in zip(walk.places[info.name], symbols, strict=True):
                info.type.tensor_type.shape.dim[axis].dim_param = symbol
    del graph.value_info[:]
    for info in model.graph.value_info:
        if info.name not in walk.places:
            graph.value_info.append(info)
    for info in graph.output:
        if info.name in walk.places:
            _forget_sizes(info, walk.places[info.name])
    return graph


def _untaken(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _forget_sizes(info: ValueInfoProto, places: Places) -> None:
    for axis in places:
        info.type.tensor_type.shape.dim[axis].Clear()


def _check(made: Model, walk: Walk, size: str) -> None:
    """Nothing that carries the picture may have kept a fixed size; the inference is an independent witness."""
    for name, places in walk.places.items():
        shape = made.values[name].shape
        if shape is not None and any(isinstance(shape[axis], int) for axis in places):
            raise ShapeError(f"the size {size} of the image cannot be changed: {made.values[name]} keeps a fixed one")
