"""What a target is in a given model: a value of the graph, and the cotangent on it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto

from ..errors import ModelError, TargetError, UnknownName
from ..graph.model import Model
from ..proto.attributes import attributes

if TYPE_CHECKING:
    from ..preprocess.image import Geometry
    from .target import Target

PROBABILITIES = "onnxray/probabilities"


@dataclass(frozen=True)
class Place:
    """What a target is resolved against.

    `labels` of the classes; `geometries`, one per sample, where the input was an image; `plane`, the (height, width)
    of the input tensor, None where it is no image.
    """

    model: Model
    labels: tuple[str, ...] | None = None
    geometries: tuple[Geometry, ...] | None = None
    plane: tuple[int, int] | None = None


@dataclass(frozen=True)
class Classes:
    """Sums of class scores. `codes` int64 (K, J): class indices, or -r for the r-th most probable class; `weights`
    (K, J).

    `axis` of the classes in rows (N, ...); `scale` is "model" (as the output is), "prob" or "logit".
    """

    axis: int
    codes: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: str

    def row_codes(self, samples: int) -> NDArray[np.int64]:
        """(samples * K, J), sample by sample."""
        return np.tile(self.codes, (samples, 1))

    def row_weights(self, samples: int) -> NDArray[np.float32]:
        return np.tile(self.weights, (samples, 1))


@dataclass(frozen=True)
class Resolved:
    """A target in a model: score(y) = sum(y * cotangent) over the value `of`, for each of K `targets`.

    `model` is the model, with what the target needs added; `fixed` says that the cotangent depends on y's shape only;
    `found` names, per sample, what was chosen by its values.
    """

    model: Model
    of: str
    targets: tuple[Target, ...]
    fixed: bool
    classes: Classes | None = None
    pick: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None
    found: Callable[[NDArray[Any]], list[Target]] | None = None

    @property
    def count(self) -> int:
        """K, the number of targets per sample."""
        return 1 if self.classes is None else len(self.classes.codes)

    def chosen(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """The class indices (N * K, J) that the codes stand for, given the clean values y: (N, ...)."""
        assert self.classes is not None
        scores = np.moveaxis(y, self.classes.axis, -1).reshape(len(y), -1, y.shape[self.classes.axis])[:, 0]
        count = scores.shape[1]
        codes = self.classes.codes
        beyond = codes[(codes >= count) | (codes < -count)]
        if beyond.size:
            worst = int(beyond[0])
            asked = f"class {worst} does not exist" if worst >= 0 else f"there is no class of rank {-worst}"
            raise TargetError(f"{asked}: the output {self.of!r} has classes 0 to {count - 1}")
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
        rows = np.repeat(np.arange(len(y)), len(codes))
        tiled = self.classes.row_codes(len(y))
        found: NDArray[np.int64] = np.where(tiled >= 0, tiled, order[rows[:, None], np.maximum(-tiled - 1, 0)])
        return found

    def cotangents(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """(N * K, ...) for the clean values y: (N, ...), sample by sample. Raises TargetError."""
        if self.pick is not None:
            picked = self.pick(y)
            return picked.reshape(-1, *picked.shape[2:])
        assert self.classes is not None
        chosen, weights = self.chosen(y), self.classes.row_weights(len(y))
        result = np.zeros((len(chosen), *y.shape[1:]), np.float32)
        by_class = np.moveaxis(result, self.classes.axis, 1)
        for row, (classes, factors) in enumerate(zip(chosen, weights, strict=True)):
            np.add.at(by_class[row], classes, factors.reshape(-1, *[1] * (by_class.ndim - 2)))
        return result


def score(
    y: NDArray[Any], cotangents: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """sum(y * cotangent) per row, in float64; elements whose cotangent is 0 do not count, even if they are infinite.

    y: (R, ...). cotangents: (R, ...), or those of the rows `rows` (R,) among them. Returns (R,).
    """
    rows = np.arange(len(y)) if rows is None else rows
    flat, weights = y.reshape(len(y), -1), cotangents.reshape(len(cotangents), -1)
    total = np.empty(len(y), np.float64)
    for row in np.unique(rows):
        mine = np.flatnonzero(rows == row)
        used = np.flatnonzero(weights[row])
        # Row by row, so that the result does not depend on which rows are computed together.
        total[mine] = (flat[mine[:, None], used].astype(np.float64) * weights[row, used]).sum(axis=1)
    return total


def class_scores(place: Place, kind: str, target: Target) -> Resolved:
    """Targets made of classes: `kind` is "model" (the output as it is), "prob" or "logit"."""
    from ..inspect.signature import class_output

    model = place.model
    try:
        output = class_output(model)
    except ModelError as error:
        raise TargetError(
            f"{error}; for other outputs the target is element:VALUE:INDEX, region:CLASS or unit:LAYER:CHANNEL"
        ) from None
    name, axis = output.name, max(output.axis, 1)
    if kind == "prob" and output.scores != "probabilities":
        model, name = _with_probabilities(model, output.name, output.axis, output.classes, output.scores)
    elif kind == "logit" and output.scores != "logits":
        name, axis = _before_softmax(model, output.name, axis)
    rows = target.terms(place, output.classes)
    wide = max(len(row) for row in rows)
    codes = np.array([[c for c, _ in row] + [row[0][0]] * (wide - len(row)) for row in rows], np.int64)
    weights = np.array([[w for _, w in row] + [0.0] * (wide - len(row)) for row in rows], np.float32)
    classes = Classes(axis, codes, weights, kind)
    return Resolved(model, name, (target,), fixed=bool((codes >= 0).all()), classes=classes)


def _with_probabilities(model: Model, name: str, axis: int, count: int | None, scores: str) -> tuple[Model, str]:
    """The model with probabilities computed after the scores `name`."""
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    if scores == "log-probabilities":
        node = onnx.helper.make_node("Exp", [name], [PROBABILITIES], name=PROBABILITIES)
    elif count == 1:
        node = onnx.helper.make_node("Sigmoid", [name], [PROBABILITIES], name=PROBABILITIES)
    elif model.opset >= 13:
        node = onnx.helper.make_node("Softmax", [name], [PROBABILITIES], name=PROBABILITIES, axis=axis)
    else:
        # Before opset 13 a softmax runs over all axes from `axis` on: the same where the others after it have size 1.
        node = onnx.helper.make_node("Softmax", [name], [PROBABILITIES], name=PROBABILITIES, axis=min(axis, 1))
    graph.node.append(node)
    info = onnx.ValueInfoProto()
    info.CopyFrom(next(v for v in model.graph.output if v.name == name))
    info.name = PROBABILITIES
    graph.output.append(info)
    return model.with_graph(graph), PROBABILITIES


# Operators that may stand between a softmax and the output: they keep the scores' places, or move them.
_KEEPS = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
_MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def _before_softmax(model: Model, name: str, axis: int) -> tuple[str, int]:
    """The value that the softmax or sigmoid before the output `name` reads, and its class axis."""
    node = model.producer(name)
    moved = False
    while node is not None and node.op_type in (*_KEEPS, *_MOVES):
        moved = moved or node.op_type in _MOVES
        node = model.producer(node.input[0])
    if node is None or node.op_type not in ("Softmax", "LogSoftmax", "Sigmoid"):
        raise TargetError(
            f"the scores before the probabilities {name!r} cannot be found: explain the class without logit:"
        )
    logits = node.input[0]
    shape = model.value(logits).shape
    if moved and shape is not None:
        if node.op_type == "Sigmoid":
            axis = next((i for i, d in enumerate(shape) if i > 0 and d != 1), 1)
        else:
            axis = attributes(node).get("axis", -1 if model.opset >= 13 else 1) % len(shape)
    return logits, axis


def class_index(which: int | str, labels: Sequence[str] | None, count: int | None) -> int:
    """The index of a class given by index or label. Raises TargetError, UnknownName with the nearest labels.

    A label is matched whole, then without a leading WordNet id, then by one of its synonyms ("tench, Tinca tinca"),
    letters
    of either case.
    """
    if isinstance(which, int):
        if which < 0 or (count is not None and which >= count):
            known = f"the model has classes 0 to {count - 1}" if count is not None else "classes are counted from 0"
            first, last = (f" ({labels[0]!r}", f" ... {labels[-1]!r})") if labels and len(labels) == count else ("", "")
            raise TargetError(f"class {which} does not exist: {known}{first}{last}")
        return which
    if not labels:
        raise TargetError(
            f"the class {which!r} cannot be looked up, the model has no labels: give the class's index, or labels=..."
        )
    wanted = _plain(which)
    names: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        bare = re.sub(r"^n\d{8}\s+", "", label)
        for name in dict.fromkeys((_plain(label), _plain(bare), *(_plain(part) for part in bare.split(",")))):
            names.setdefault(name, []).append(index)
    exact = [i for i, label in enumerate(labels) if label == which]
    found = exact or [i for i, label in enumerate(labels) if _plain(label) == wanted] or names.get(wanted, [])
    if not found:
        raise UnknownName("label", which, [label for label in labels if label] + list(names))
    if len(found) > 1:
        listed = ", ".join(f"{i} ({labels[i]})" for i in found[:5])
        raise TargetError(f"the label {which!r} stands for several classes: {listed}; give the index")
    if count is not None and found[0] >= count:
        raise TargetError(
            f"the label {which!r} is class {found[0]}, the model has classes 0 to {count - 1}: give its own labels"
        )
    return found[0]


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").split())


def label_of(index: int, labels: Sequence[str] | None) -> str | None:
    """The label of a class, without a leading WordNet id."""
    if labels is None or not 0 <= index < len(labels):
        return None
    return re.sub(r"^n\d{8}\s+", "", labels[index]) or None


def unit_axes(model: Model, layer: str) -> tuple[str, int, tuple[int, ...]]:
    """The value of a layer, its channel axis and the axes of places, in rows (N, ...)."""
    from ..inspect.layers import value_of

    name = value_of(model, layer)
    rank = model.value(name).rank
    found = next((entry for entry in model.layers if entry.output == name), None)
    axes = found.map_axes if found is not None else None
    if rank is None and axes is None:
        raise TargetError(f"the shape of {layer!r} is not known: choose a layer beside it")
    if axes and rank is not None:
        rest = [a for a in range(1, rank) if a not in axes]
        if len(rest) == 1 and 0 not in axes:
            return name, rest[0], tuple(axes)
    if rank is None or rank < 2:
        raise TargetError(f"the value {name!r} has no channels: choose the output of a layer")
    channel = rank - 1 if rank == 3 else 1
    return name, channel, tuple(a for a in range(1, rank) if a != channel)


def dense_output(model: Model, name: str | None) -> tuple[str, int, tuple[int, int]]:
    """The output with a score for every class and place, its class axis and its (height, width) axes."""
    from ..inspect.receptive_field import spatial_axes
    from ..inspect.signature import image_input

    names = [v.name for v in model.outputs]
    if name is not None and name not in model.values:
        raise UnknownName("output", name, names)
    try:
        image = image_input(model)
        places = spatial_axes(model, image.name, image.axes)
    except ModelError:
        places = {}
    for candidate in [name] if name is not None else names:
        value = model.value(candidate)
        if value.rank != 4 or value.dtype is None or value.dtype.kind != "f":
            continue
        axes = tuple(places.get(candidate) or (2, 3))
        channel = [a for a in (1, 2, 3) if a not in axes]
        small = value.shape is not None and all(value.shape[a] == 1 for a in axes)
        if len(channel) == 1 and not small:
            return candidate, channel[0], (axes[0], axes[1])
    listed = "; ".join(str(v) for v in model.outputs)
    raise TargetError(
        f"no output has a score for every class and place ({listed}): name one with output=, or use element:"
    )


def region_cells(
    place: Place,
    y: NDArray[Any],
    chosen: int,
    box: tuple[float, ...] | None,
    mask: NDArray[Any] | None,
) -> NDArray[np.bool_]:
    """The cells (N, h, w) of dense scores y: (N, C, h, w) that are in the region. Raises TargetError where none are."""
    count, _, height, width = y.shape
    cells = np.zeros((count, height, width), bool)
    if box is None and mask is None:
        cells = (y.argmax(axis=1) == chosen) if y.shape[1] > 1 else y[:, 0] > 0
        for winners, maps in zip(cells, y, strict=True):
            if not winners.any():
                present = np.unique(maps.argmax(axis=0))[:8].tolist() if len(maps) > 1 else "none"
                raise TargetError(f"class {chosen} wins nowhere (classes that do: {present}): give a box or a mask")
        return cells
    if mask is not None and mask.shape == (height, width):
        cells[:] = mask.astype(bool)
    else:
        for row in range(count):
            cells[row] = _cells_on_image(place, row, height, width, box, mask)
    if not cells.any(axis=(1, 2)).all():
        what = f"the box {[f'{e:g}' for e in box]}" if box is not None else "the mask"
        raise TargetError(f"{what} covers no cell of the output's {height}x{width}: it lies outside or is too small")
    return cells


def _cells_on_image(
    place: Place, row: int, height: int, width: int, box: tuple[float, ...] | None, mask: NDArray[Any] | None
) -> NDArray[np.bool_]:
    plane = place.plane or (height, width)
    ys, xs = (np.arange(height) + 0.5) / height * plane[0], (np.arange(width) + 0.5) / width * plane[1]
    points = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1)
    size = plane
    if place.geometries is not None:
        geometry = place.geometries[row]
        points, size = geometry.to_original(points), geometry.original
    if box is not None:
        y0, x0, y1, x1 = box
        return np.asarray((points >= (y0, x0)).all(axis=-1) & (points < (y1, x1)).all(axis=-1))
    assert mask is not None
    if mask.shape != tuple(size):
        raise TargetError(f"the mask of shape {list(mask.shape)} fits neither the image ({list(size)}) nor the output")
    at = np.floor(points).astype(int)
    seen = (at >= 0).all(axis=-1) & (at < size).all(axis=-1)
    at = np.clip(at, 0, np.subtract(size, 1))
    return np.asarray(seen & mask.astype(bool)[at[..., 0], at[..., 1]])


def element_places(y: NDArray[Any], index: tuple[int | str, ...], text: str) -> NDArray[np.float32]:
    """The cotangent (N, 1, ...) of one element per sample of y: (N, ...)."""
    shape = y.shape[1:]
    if len(index) != len(shape):
        raise TargetError(
            f"the target {text} names {len(index)} axes, the value has {len(shape)} after the batch: {list(shape)}"
        )
    for axis, entry in enumerate(index):
        if isinstance(entry, int) and not -shape[axis] <= entry < shape[axis]:
            raise TargetError(
                f"the target {text} is out of range: axis {axis + 1} of the value has 0 to {shape[axis] - 1}"
            )
    result = np.zeros((len(y), 1, *shape), np.float32)
    slices = tuple(entry if isinstance(entry, int) else slice(None) for entry in index)
    free = [entry for entry in index if isinstance(entry, str)]
    for row, out in zip(y, result, strict=True):
        values = row[slices].astype(np.float64)
        means = tuple(i for i, entry in enumerate(free) if entry == "mean")
        averaged = values.mean(axis=means, keepdims=True) if means else values
        best = np.unravel_index(int(np.argmax(averaged)), averaged.shape) if averaged.ndim else ()
        chosen = tuple(slice(None) if i in means else int(b) for i, b in enumerate(best))
        share = np.zeros(values.shape, np.float32)
        share[chosen] = 1 / math.prod(values.shape[i] for i in means)
        out[0][slices] = share
    return result
