"""Region algebra: what of a value changes with a part of the image, and what of its input is needed for a part of it.

Rows and columns are independent of each other in every operator that is treated here, so all of it is about intervals
of one axis; the rules of `inspect/locality` say which interval of its input a part of a node's output reads. What has
no such rule (dense layers, global pooling, attention, squeeze and excitation, normalisation over positions) ends the
local part of a network, and so does a node that cannot be written for a part of its output.

Nakandala, Kumar and Papakonstantinou, "Incremental and approximate inference for faster occlusion-based deep CNN
explanations", SIGMOD 2019, section 4, is where the idea for chains of convolutions comes from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from onnx import NodeProto

from ..errors import ModelError
from ..graph.model import Model
from ..inspect.locality.reach import SAME, Reach, Spans, middle, union
from ..inspect.locality.rules import Links, LocalNode, Mixing, Sizes
from ..inspect.locality.table import links
from ..inspect.locality.windows import sliding
from ..proto.arguments import Unreadable
from ..proto.nodes import reads
from .writable import KINDS, check_writable

Axes: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """One node of the local part.

    reaches: for every input that depends on the image, how rows and columns are read. kind: how the node is written
    for a part of its output: "same" as it is; "window" with paddings of its own; "pad", "slice", "reshape", "resize"
    with arguments of their own. windows: kernel, stride, dilation along rows and columns.
    """

    node: NodeProto
    reaches: Mapping[str, tuple[Reach, Reach]]
    kind: str = "same"
    windows: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Locality:
    """The local part of a model.

    axes: for every value in it, which of its axes are rows and columns. steps: its nodes, by the name of their first
    output. reached: all values that depend on the image. sizes: shapes in numbers, for the batch `batch`.
    """

    source: str
    batch: int
    sizes: Sizes
    axes: dict[str, Axes] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def size(self, value: str, axis: int) -> int:
        """Rows (axis 0) or columns (1) of a value of the local part."""
        shape = self.sizes[value]
        assert shape is not None
        return shape[self.axes[value][axis]]


def locality(model: Model, source: str, axes: Axes, sizes: Sizes) -> Locality:
    """What is local in `model` as seen from its input `source`, whose rows and columns are `axes`.

    sizes: the shape of every value, for one and the same batch size; values whose shape is None are not local.
    """
    shape = sizes.get(source)
    if shape is None:
        raise ModelError(f"the shape of the input {source!r} is not known")
    found = Locality(source, shape[0], sizes)
    found.reached.add(source)
    found.axes[source] = axes
    others = {v.name for v in model.inputs if v.name != source}  # and what is computed from them
    for node in model.graph.node:
        names = list(reads(node))
        outputs = [name for name in node.output if name]
        if any(name in others for name in names):
            others.update(outputs)
        if not any(name in found.reached for name in names):
            continue
        found.reached.update(outputs)
        if any(name in others for name in names):
            continue
        try:
            step, places = _step(model, node, found)
        except (Mixing, Unreadable, ModelError):
            continue
        found.steps[outputs[0]] = step
        found.axes.update((name, places) for name in outputs)
    return found


def _step(model: Model, node: NodeProto, known: Locality) -> tuple[Step, Axes]:
    """The step of a node, and where rows and columns lie in its outputs. Raises Mixing, Unreadable, ModelError."""
    if any(name in known.reached and name not in known.axes for name in reads(node)):
        raise Mixing
    # Samples are followed as well: they stay apart, on axis 0.
    followed = {name: (0, *known.axes[name]) for name in node.input if name in known.axes}
    local = LocalNode(model, node, followed, known.sizes)
    found = {name: _of_image(by_axis, followed[name]) for name, by_axis in links(local).items()}
    places = next(places for places, _ in found.values())
    if any(other != places for other, _ in found.values()):
        raise Mixing
    for name in filter(None, node.output):
        shape = known.sizes.get(name)
        if shape is None or shape[0] != known.batch or any(shape[place] < 1 for place in places):
            raise Mixing
    check_writable(local, places)
    kind = KINDS.get(node.op_type, "same")
    windows = tuple(step[:3] for step in sliding(local)) if kind == "window" else ()
    return Step(node, {name: pair for name, (_, pair) in found.items()}, kind, windows), places


def _of_image(by_axis: Links, followed: tuple[int, ...]) -> tuple[Axes, tuple[Reach, Reach]]:
    """Where rows and columns of an input lie in the output, and how they are read. Raises Mixing if samples move."""
    places = {link.axis: place for place, link in by_axis.items()}
    samples, rows, columns = (places[axis] for axis in followed)
    if samples != 0 or by_axis[0].reach != SAME:
        raise Mixing
    return (rows, columns), (by_axis[rows].reach, by_axis[columns].reach)


def changed(model: Model, known: Locality, windows: Spans, axis: int, cap: float | None = None) -> dict[str, Spans]:
    """For every value of the local part: what can change of its rows (axis 0) or columns (1).

    windows: the rows or columns of the image that are hidden, (n, 2). cap: no more than this part of a map, the middle
    of it, counts as changed: an approximation (Nakandala et al. 2019, section 5: projective field thresholding).
    """
    found = {known.source: windows}
    for node in model.graph.node:
        step = known.steps.get(next((name for name in node.output if name), ""))
        if step is None:
            continue
        for output in filter(None, node.output):
            spans: Spans | None = None
            size = known.size(output, axis)
            for name, reach in step.reaches.items():
                spans = union(spans, reach[axis].forward(found[name], size))
            assert spans is not None
            found[output] = spans if cap is None else middle(spans, max(1, math.ceil(cap * size)))
    return found
