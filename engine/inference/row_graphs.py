"""Graphs that make rows, many forms of one input, on the device where the network runs.

A row that NumPy makes has to be copied to the device; a graph of a few nodes makes it there from what was copied once
(the input, what stands in for hidden parts) and from a few numbers per row (a point on a way, a box, a small mask).
Each graph computes what the kernel or the NumPy code of the same name computes on the host, in the same order.

Samples are seen as (A, H, W, K), as in `kernels/occlusion.py`: NCHW gives A = C and K = 1, NHWC gives A = 1 and K = C.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from ..graph.model import Model

ROWS = "rows"
Numbers = NDArray[np.int64]


def _none(numbers: Numbers) -> Mapping[str, NDArray[Any]]:
    return {}


@dataclass(frozen=True, eq=False)
class RowGraph:
    """A graph whose output `rows` (B, ...) is what an input of the network is fed.

    dtype: of the rows. constants: arrays by input name that every run reads. each: small arrays by input name for the
    numbers (B,) of rows, called by another thread than the runs. feeds: the network's input; others: its other inputs
    that have a row for every sample, by name, for numbers (B,).
    """

    model: Model
    dtype: np.dtype[Any]
    constants: Mapping[str, NDArray[Any]]
    each: Callable[[Numbers], Mapping[str, NDArray[Any]]]
    feeds: str = ""
    others: Callable[[Numbers], Mapping[str, NDArray[Any]]] = _none


# --- what the rows of methods are made of ---


def taken(x: NDArray[Any], fed: np.dtype[Any], rows: Callable[[Numbers], NDArray[np.int64]]) -> RowGraph:
    """x[row], of samples x (N, ...) that are copied once; `rows` gives which one each number is."""
    return RowGraph(_taken(x.dtype, fed), fed, {"x": x}, lambda numbers: {"row": rows(numbers)})


def interpolated(
    base: NDArray[Any],
    difference: NDArray[Any],
    fed: np.dtype[Any],
    at: Callable[[Numbers], tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> RowGraph:
    """base[row] + point * difference[row]. base, difference (R, ...); `at` gives row and point (B,) for numbers."""

    def each(numbers: Numbers) -> dict[str, NDArray[Any]]:
        row, point = at(numbers)
        return {"row": row, "point": point.astype(np.float32).reshape(-1, *[1] * (base.ndim - 1))}

    constants = {"base": base.astype(np.float32), "difference": difference.astype(np.float32)}
    return RowGraph(_interpolated(base.dtype, fed), fed, constants, each)


def noisy(
    x: NDArray[Any],
    scale: NDArray[np.float32],
    fed: np.dtype[Any],
    drawn: Callable[[Numbers], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]],
) -> RowGraph:
    """x[row] + scale[row] * noise[copy]. x (R, ...), scale (R, 1, ...).

    drawn: row and copy (B,) for numbers (B,), and the noise (C, ...) of the copies among them.

    The noise is NumPy's, so that the copies are those of the host.
    """

    def each(numbers: Numbers) -> dict[str, NDArray[Any]]:
        row, copy, noise = drawn(numbers)
        return {"row": row, "copy": copy, "noise": noise}

    return RowGraph(_noisy(fed), fed, {"x": x.astype(np.float32), "scale": scale}, each)


def masked(
    x: NDArray[Any],
    planar: tuple[int, int, int, int],
    fill: NDArray[Any] | None,
    masks: Callable[[Numbers], tuple[NDArray[np.float32], NDArray[np.int64] | None]],
    enlarged: tuple[int, int] | None = None,
) -> RowGraph:
    """x * m + fill * (1 - m), as `kernels/masks.py: apply` does it. x, fill: one sample; fill None: zeros.

    masks: grids (B, h, w) and the crops' corners (B, 2) in masks of the size `enlarged`, for numbers (B,).
    """
    height, width = enlarged or planar[1:3]

    def each(numbers: Numbers) -> dict[str, NDArray[Any]]:
        grids, shifts = masks(numbers)
        sizes = np.array([len(grids), 1, height, width], np.int64)
        found: dict[str, NDArray[Any]] = {"grid": grids[:, None], "sizes": sizes}
        if shifts is not None:
            found["corner"] = (shifts[:, :1] * width + shifts[:, 1:]).astype(np.int64)
        return found

    constants: dict[str, NDArray[Any]] = {"x": x.reshape(planar).astype(np.float32)}
    if fill is not None:
        constants["fill"] = fill.reshape(planar).astype(np.float32)
    if enlarged is not None:
        rows, columns = np.arange(planar[1])[:, None], np.arange(planar[2])
        constants["places"] = (rows * width + columns).reshape(1, -1).astype(np.int64)
    graph = _masked(x.shape, planar, x.dtype, fill is not None, enlarged is not None)
    return RowGraph(graph, x.dtype, constants, each)


def occluded(
    x: NDArray[Any],
    planar: tuple[int, int, int, int],
    fill: NDArray[Any],
    boxes: Callable[[Numbers], NDArray[np.int64]],
    segments: NDArray[np.int32] | None = None,
    ids: Callable[[Numbers], NDArray[np.int32]] | None = None,
) -> RowGraph:
    """x with boxes (B, 4), or what belongs to the segment ids (B,) in them, painted from `fill`."""

    def each(numbers: Numbers) -> dict[str, NDArray[Any]]:
        found = boxes(numbers)
        sides = {name: found[:, k].reshape(-1, 1, 1, 1, 1) for k, name in enumerate(("y0", "x0", "y1", "x1"))}
        if ids is None:
            return sides
        return {**sides, "id": ids(numbers).astype(np.int32).reshape(-1, 1, 1, 1, 1)}

    constants: dict[str, NDArray[Any]] = {"x": x.reshape(planar), "fill": fill.astype(x.dtype).reshape(planar)}
    constants["down"] = np.arange(planar[1]).reshape(1, 1, -1, 1, 1)
    constants["across"] = np.arange(planar[2]).reshape(1, 1, 1, -1, 1)
    if segments is not None:
        constants["segments"] = segments.reshape(1, 1, *planar[1:3], 1)
    return RowGraph(_occluded(x.shape, x.dtype, segments is not None), x.dtype, constants, each)


def coalitions(
    x: NDArray[Any],
    planar: tuple[int, int, int, int],
    fill: NDArray[Any],
    labels: NDArray[np.int32],
    shares: Callable[[Numbers], NDArray[Any]],
    mixed: bool = False,
) -> RowGraph:
    """x where a coalition keeps the segment, else fill; with `mixed`, fill + share * (x - fill).

    labels (H, W): the segment of every place; shares (B, S): booleans, or the share that is seen.
    """

    def each(numbers: Numbers) -> dict[str, NDArray[Any]]:
        kept = shares(numbers)
        return {"keep": kept.astype(np.float32) if mixed else kept}

    places = {"labels": labels.reshape(-1).astype(np.int64)}
    constants = {"x": x.reshape(planar), "fill": fill.astype(x.dtype).reshape(planar)}
    if mixed:
        constants = {name: array.astype(np.float32) for name, array in constants.items()}
    return RowGraph(_coalitions(x.shape, planar, x.dtype, mixed), x.dtype, {**constants, **places}, each)


def parts_of_value(
    value: NDArray[Any],
    keep: Callable[[Numbers], NDArray[Any]],
    other: NDArray[Any] | None = None,
    always: NDArray[np.bool_] | None = None,
) -> RowGraph:
    """A value (1, ...) of the network, with `other` (zeros) where keep (B, ...), broadcast, is False; real numbers
    multiply it. always (1, ...): what is kept whatever `keep` says, where that is booleans."""
    like = keep(np.zeros(1, np.int64))
    graph = _parts(value.dtype, like.dtype.kind == "b", always is not None)
    constants = {"value": value, "nothing": np.zeros(1, value.dtype) if other is None else other}
    if always is not None:
        constants["always"] = always
    return RowGraph(graph, value.dtype, constants, lambda n: {"keep": keep(n)})


# --- the graphs ---


def _kind(dtype: np.dtype[Any] | type[Any]) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


def _model(
    nodes: Sequence[NodeProto], inputs: Mapping[str, int], outputs: Mapping[str, int], numbers: Mapping[str, Any] | None
) -> Model:
    """inputs, outputs: the type of each, by name; numbers: constants that are the same for every input."""
    graph = onnx.helper.make_graph(
        list(nodes),
        ROWS,
        [make_tensor_value_info(name, kind, None) for name, kind in inputs.items()],
        [make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (numbers or {}).items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return Model(made)


def _rows(nodes: list[NodeProto], made: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None = None) -> list[Any]:
    """Nodes that give `made`, in float32, the rows' type and shape."""
    if shape is not None:
        nodes.append(make_node("Reshape", [made, "sample"], ["shaped"]))
        made = "shaped"
    if dtype.kind in "iu":
        nodes.append(make_node("Round", [made], ["whole"]))
        made = "whole"
    kind = "Identity" if dtype == np.float32 else "Cast"
    nodes.append(make_node(kind, [made], [ROWS], **({} if kind == "Identity" else {"to": _kind(dtype)})))
    return nodes


@lru_cache(8)
def _taken(dtype: np.dtype[Any], fed: np.dtype[Any]) -> Model:
    same = dtype == fed
    nodes = [make_node("Gather", ["x", "row"], [ROWS if same else "chosen"])]
    if not same:
        nodes.append(make_node("Cast", ["chosen"], [ROWS], to=_kind(fed)))
    return _model(nodes, {"x": _kind(dtype), "row": _INT}, {ROWS: _kind(fed)}, None)


@lru_cache(32)
def _interpolated(stored: np.dtype[Any], fed: np.dtype[Any]) -> Model:
    nodes = [
        make_node("Gather", ["difference", "row"], ["way"]),
        make_node("Gather", ["base", "row"], ["start"]),
        make_node("Mul", ["way", "point"], ["gone"]),
        make_node("Add", ["gone", "start"], ["there"]),
    ]
    made = "there"
    if stored != np.float32 and stored != fed:  # the host rounds points to the type of the input
        nodes += [
            make_node("Cast", ["there"], ["rounded"], to=_kind(stored)),
            make_node("Cast", ["rounded"], ["read"], to=_FLOAT),
        ]
        made = "read"
    inputs = {"base": _FLOAT, "difference": _FLOAT, "row": _INT, "point": _FLOAT}
    return _model(_rows(nodes, made, fed), inputs, {ROWS: _kind(fed)}, None)


@lru_cache(32)
def _noisy(fed: np.dtype[Any]) -> Model:
    nodes = [
        make_node("Gather", ["x", "row"], ["clean"]),
        make_node("Gather", ["scale", "row"], ["spread"]),
        make_node("Gather", ["noise", "copy"], ["own"]),
        make_node("Mul", ["own", "spread"], ["moved"]),
        make_node("Add", ["moved", "clean"], ["there"]),
    ]
    inputs = {"x": _FLOAT, "scale": _FLOAT, "row": _INT, "copy": _INT, "noise": _FLOAT}
    return _model(_rows(nodes, "there", fed), inputs, {ROWS: _kind(fed)}, None)


@lru_cache(32)
def _masked(shape: tuple[int, ...], planar: tuple[int, ...], dtype: np.dtype[Any], fill: bool, cropped: bool) -> Model:
    resize = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [make_node("Resize", ["grid", "", "", "sizes"], ["large"], **resize)]
    inputs = {"x": _FLOAT, "grid": _FLOAT, "sizes": _INT}
    if cropped:
        nodes += [
            make_node("Flatten", ["large"], ["flat"]),
            make_node("Add", ["places", "corner"], ["chosen"]),
            make_node("GatherElements", ["flat", "chosen"], ["large_cropped"], axis=1),
        ]
        inputs |= {"places": _INT, "corner": _INT}
    nodes += [
        make_node("Reshape", ["large_cropped" if cropped else "large", "plane"], ["mask"]),
        make_node("Mul", ["x", "mask"], ["seen"]),
    ]
    if fill:
        nodes += [
            make_node("Sub", ["one", "mask"], ["rest"]),
            make_node("Mul", ["fill", "rest"], ["behind"]),
            make_node("Add", ["seen", "behind"], ["both"]),
        ]
        inputs["fill"] = _FLOAT
    numbers = {"plane": np.array([-1, 1, *planar[1:3], 1]), "sample": np.array([-1, *shape])}
    if fill:
        numbers["one"] = np.ones(1, np.float32)
    return _model(_rows(nodes, "both" if fill else "seen", dtype, shape), inputs, {ROWS: _kind(dtype)}, numbers)


@lru_cache(32)
def _occluded(shape: tuple[int, ...], dtype: np.dtype[Any], segments: bool) -> Model:
    nodes = [
        make_node("GreaterOrEqual", ["down", "y0"], ["below"]),
        make_node("Less", ["down", "y1"], ["above"]),
        make_node("GreaterOrEqual", ["across", "x0"], ["right"]),
        make_node("Less", ["across", "x1"], ["left"]),
        make_node("And", ["below", "above"], ["rows_of_it"]),
        make_node("And", ["right", "left"], ["columns_of_it"]),
        make_node("And", ["rows_of_it", "columns_of_it"], ["box"]),
    ]
    inputs = {name: _kind(dtype) for name in ("x", "fill")}
    inputs |= dict.fromkeys(("down", "across", "y0", "x0", "y1", "x1"), _INT)
    hidden = "box"
    if segments:
        nodes += [make_node("Equal", ["segments", "id"], ["own"]), make_node("And", ["box", "own"], ["hidden"])]
        inputs |= {"segments": TensorProto.INT32, "id": TensorProto.INT32}
        hidden = "hidden"
    nodes += [
        make_node("Where", [hidden, "fill", "x"], ["copies"]),
        make_node("Reshape", ["copies", "sample"], [ROWS]),
    ]
    return _model(nodes, inputs, {ROWS: _kind(dtype)}, {"sample": np.array([-1, *shape])})


@lru_cache(32)
def _coalitions(shape: tuple[int, ...], planar: tuple[int, ...], dtype: np.dtype[Any], mixed: bool) -> Model:
    numbers = {"plane": np.array([-1, 1, *planar[1:3], 1]), "sample": np.array([-1, *shape])}
    nodes = [
        make_node("Gather", ["keep", "labels"], ["places"], axis=1),
        make_node("Reshape", ["places", "plane"], ["mask"]),
    ]
    if not mixed:
        inputs = {"x": _kind(dtype), "fill": _kind(dtype), "keep": TensorProto.BOOL, "labels": _INT}
        nodes += [
            make_node("Where", ["mask", "x", "fill"], ["copies"]),
            make_node("Reshape", ["copies", "sample"], [ROWS]),
        ]
        return _model(nodes, inputs, {ROWS: _kind(dtype)}, numbers)
    inputs = {"x": _FLOAT, "fill": _FLOAT, "keep": _FLOAT, "labels": _INT}
    nodes += [
        make_node("Sub", ["x", "fill"], ["own"]),
        make_node("Mul", ["mask", "own"], ["shown"]),
        make_node("Add", ["fill", "shown"], ["both"]),
    ]
    return _model(_rows(nodes, "both", dtype, shape), inputs, {ROWS: _kind(dtype)}, numbers)


@lru_cache(32)
def _parts(dtype: np.dtype[Any], chosen: bool, always: bool) -> Model:
    kind = _kind(dtype)
    inputs = {"value": kind, "nothing": kind, "keep": TensorProto.BOOL if chosen else kind}
    if not chosen:
        # `nothing` is added, so that the graph has the same inputs either way.
        nodes = [make_node("Mul", ["value", "keep"], ["kept"]), make_node("Add", ["kept", "nothing"], [ROWS])]
        return _model(nodes, inputs, {ROWS: kind}, None)
    nodes, kept = [], "keep"
    if always:
        nodes, kept = [make_node("Or", ["keep", "always"], ["seen"])], "seen"
        inputs["always"] = TensorProto.BOOL
    nodes.append(make_node("Where", [kept, "value", "nothing"], [ROWS]))
    return _model(nodes, inputs, {ROWS: kind}, None)


@lru_cache(4)
def sums(squares: bool) -> Model:
    """total (1, n) + the sum of weights (1, k) times values[index (k,)] (or their squares), in float64."""
    nodes = [
        make_node("Flatten", ["values"], ["flat"]),
        make_node("Gather", ["flat", "index"], ["chosen"]),
        make_node("Cast", ["chosen"], ["wide"], to=TensorProto.DOUBLE),
        make_node("MatMul", ["weights", "wide"], ["sum"]),
        make_node("Add", ["first", "sum"], ["first_so_far"]),
    ]
    double = TensorProto.DOUBLE
    inputs = {"values": _FLOAT, "index": _INT, "weights": double, "first": double}
    outputs = {"first_so_far": double}
    if squares:
        nodes += [
            make_node("Mul", ["wide", "wide"], ["square"]),
            make_node("MatMul", ["weights", "square"], ["sum_of_squares"]),
            make_node("Add", ["second", "sum_of_squares"], ["second_so_far"]),
        ]
        inputs["second"], outputs["second_so_far"] = double, double
    return _model(nodes, inputs, outputs, None)
