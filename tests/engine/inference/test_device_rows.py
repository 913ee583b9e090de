"""Rows that are made where the network runs: by a table that says of the CPU provider that it has memory of its own, so
that every graph runs and is judged against the host's way without a device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import onnxray
from onnxray.engine.errors import ModelError, OutOfMemory, ShapeError
from onnxray.engine.evaluate.case import Case
from onnxray.engine.explain import problem_of
from onnxray.engine.inference import batches, device_rows, row_graphs
from onnxray.engine.inference.batches import GeneratedRows, RunOptions, run_generated
from onnxray.engine.inference.device_rows import DeviceSums, RowsAsked, small_session, where_rows_are_made
from onnxray.engine.inference.session import Session
from onnxray.engine.inspect.token_grid import Grid
from onnxray.engine.methods.families.cam import in_layout
from onnxray.engine.runtime.capabilities import CAPABILITIES, HOST, Capability
from onnxray.engine.runtime.providers import CPU
from onnxray.kernels import masks as mask_kernels
from onnxray.kernels import occlusion as occlusion_kernels

RNG = np.random.default_rng(3)
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)
PLANAR = 3, 16, 16, 1
OWN = Capability("cpu", own_memory=True)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows are made by graphs, on the CPU provider; the list holds the size of every run of a network on such rows."""
    sizes: list[int] = []
    run = device_rows.Stage.run

    def spied(self: Any, numbers: Any, each: Any, outputs: Any) -> Any:
        sizes.append(len(numbers))
        return run(self, numbers, each, outputs)

    monkeypatch.setitem(CAPABILITIES, CPU, OWN)
    monkeypatch.setattr(device_rows.Stage, "run", spied)
    return sizes


def copy_of(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    return made


# --- the planner ----------------------------------------------------------------------------------------------------


def test_rows_are_made_on_the_device_where_it_has_memory_of_its_own() -> None:
    fake = Capability("fake", own_memory=True)
    assert where_rows_are_made(fake, RowsAsked()).on_device
    assert "memory of fake" in where_rows_are_made(fake, RowsAsked()).reason
    assert where_rows_are_made(fake, RowsAsked("float16", "float16")).on_device


@pytest.mark.parametrize(
    ("can", "asked", "reason"),
    [
        (HOST, RowsAsked(), "kernels make rows faster"),
        (Capability("fake", True), RowsAsked("float64", "float64"), "rows of float64"),
        (Capability("fake", True), RowsAsked("float16", "float32"), "for an input of float32"),
        (Capability("fake", True), RowsAsked(any_batch=False), "fixes its batch size"),
        (Capability("fake", True), RowsAsked(captured=True), "CUDA graph"),
        (Capability("fake", True), RowsAsked(readable=False), "type of an output"),
        (Capability("fake", True), RowsAsked(uploaded=(1 << 28) + 1), "at most 256 MiB"),
    ],
)
def test_rows_are_made_on_the_host(can: Capability, asked: RowsAsked, reason: str) -> None:
    decision = where_rows_are_made(can, asked)
    assert not decision.on_device
    assert reason in decision.reason


# --- each graph against the kernel ----------------------------------------------------------------------------------


def rows_of(graph: row_graphs.RowGraph, count: int) -> np.ndarray:
    made = small_session(graph.model, "cpu").run({**graph.constants, **graph.each(np.arange(count))})
    return made["rows"]


def test_points_on_a_way_are_those_of_the_host() -> None:
    base, points = RNG.standard_normal((2, 3, 5)).astype(np.float32), RNG.random(4).astype(np.float32)
    difference = RNG.standard_normal((2, 3, 5)).astype(np.float32)
    graph = row_graphs.interpolated(
        base, difference, np.dtype(np.float32), lambda n: (n // 4, points[n % 4].astype(np.float32))
    )
    expected = np.stack([difference[n // 4] * points[n % 4] + base[n // 4] for n in range(8)])
    assert_array_equal(rows_of(graph, 8), expected)


def test_half_precision_is_rounded_as_on_the_host() -> None:
    base, difference = (RNG.standard_normal((1, 9)).astype(np.float16) for _ in range(2))
    points = np.linspace(0, 1, 5, dtype=np.float32)

    def at(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(numbers), np.int64), points[numbers]

    expected = (difference.astype(np.float32) * points[:, None] + base.astype(np.float32)).astype(np.float16)
    for fed in (np.float16, np.float32):
        made = rows_of(row_graphs.interpolated(base, difference, np.dtype(fed), at), 5)
        assert made.dtype == fed
        assert_array_equal(made, expected.astype(fed))


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_masks_are_those_of_the_kernel(filled: bool, dtype: Any) -> None:
    masks = mask_kernels.Rise((16, 16), 5, 0.5, 1)
    grids, shifts = masks.draw(0, 6)
    x, fill = (RNG.integers(0, 200, (3, 16, 16)).astype(dtype) for _ in range(2))
    expected = np.empty((6, *PLANAR), dtype)
    behind = fill.reshape(PLANAR) if filled else None
    mask_kernels.apply(expected, x.reshape(PLANAR), behind, grids, enlarged=masks.enlarged, shifts=shifts)
    graph = row_graphs.masked(
        x, PLANAR, fill if filled else None, lambda n: (grids[n], shifts[n]), enlarged=masks.enlarged
    )
    assert_allclose(
        rows_of(graph, 6), expected.reshape(6, 3, 16, 16), rtol=1e-6, atol=1e-4 if dtype == np.float32 else 1
    )


def test_windows_and_segments_are_those_of_the_kernel() -> None:
    x, fill = X[0], RNG.random((3, 16, 16), np.float32)
    boxes = np.array([[0, 0, 4, 4], [3, 5, 16, 16], [2, 2, 2, 9]])
    expected = np.empty((3, *PLANAR), np.float32)
    occlusion_kernels.copies(expected, x.reshape(PLANAR), fill.reshape(PLANAR), boxes)
    graph = row_graphs.occluded(x, PLANAR, fill, boxes.__getitem__)
    assert_array_equal(rows_of(graph, 3), expected.reshape(3, 3, 16, 16))
    labels, ids = RNG.integers(-1, 3, (16, 16)).astype(np.int32), np.array([0, 1, 2], np.int32)
    occlusion_kernels.copies_of_segments(expected, x.reshape(PLANAR), fill.reshape(PLANAR), labels, ids, boxes)
    graph = row_graphs.occluded(x, PLANAR, fill, boxes.__getitem__, labels, ids.__getitem__)
    assert_array_equal(rows_of(graph, 3), expected.reshape(3, 3, 16, 16))


def test_coalitions_are_those_of_the_kernel() -> None:
    x, fill = X[0], RNG.random((3, 16, 16), np.float32)
    labels, keep = RNG.integers(0, 7, (16, 16)).astype(np.int32), RNG.random((5, 7)) < 0.5
    expected = np.empty((5, *PLANAR), np.float32)
    mask_kernels.coalitions(expected, x.reshape(PLANAR), fill.reshape(PLANAR), labels, keep)
    graph = row_graphs.coalitions(x, PLANAR, fill, labels, keep.__getitem__)
    assert_array_equal(rows_of(graph, 5), expected.reshape(5, 3, 16, 16))
    shares = RNG.random((5, 7))
    graph = row_graphs.coalitions(x, PLANAR, fill, labels, shares.__getitem__, mixed=True)
    assert_array_equal(rows_of(graph, 5), fill + shares.astype(np.float32)[:, None, labels] * (x - fill))


GRIDS = {
    "an image": (Grid((2, 3), (2, 3), 1), (1, 4, 2, 3)),
    "channels last": (Grid((2, 3), (1, 2), 3), (1, 2, 3, 4)),
    "tokens and a class token": (Grid((2, 2), (1,), 2, np.array([2, 1, 4, 3]), 1), (1, 5, 4)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_parts_of_a_layer_are_put_out_as_on_the_host(name: str) -> None:
    grid, shape = GRIDS[name]
    value = RNG.standard_normal(shape).astype(np.float32)
    maps = grid.maps(value)
    outside = in_layout(grid, value, np.zeros((1, 1, *grid.shape), bool), True)
    assert outside.sum() == grid.others

    def channels(numbers: np.ndarray) -> np.ndarray:
        return in_layout(grid, value, (numbers[:, None] != np.arange(4))[:, :, None, None], 1)

    expected = []
    for number in range(4):
        without = maps.copy()
        without[:, number] = 0
        expected.append(grid.put(value, without)[0])
    assert_array_equal(rows_of(row_graphs.parts_of_value(value, channels, always=outside), 4), expected)
    masks = RNG.random((3, 1, *grid.shape)).astype(np.float32)

    def places(numbers: np.ndarray) -> np.ndarray:
        return in_layout(grid, value, masks[numbers], 1)

    expected = [grid.put(value, maps * mask)[0] for mask in masks]
    assert_array_equal(rows_of(row_graphs.parts_of_value(value, places), 3), expected)


# --- whole methods --------------------------------------------------------------------------------------------------

METHODS: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"steps": 11},
    "smoothgrad": {"samples": 5},
    "smoothgrad-squared": {"samples": 5},
    "vargrad": {"samples": 5},
    "rise": {"masks": 30, "cells": 4},
    "score-cam": {},
    "ablation-cam": {},
    "recipro-cam": {},
    "lime": {"samples": 40, "segments": "grid", "grid": 3},
    "kernel-shap": {"samples": 40, "segments": "grid", "grid": 3},
    "sobol": {"designs": 4, "segments": "grid", "grid": 3},
    "ablation": {"segments": "grid", "grid": 3},
    "occlusion": {"patch": 5, "stride": 3, "mode": "plain"},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("images", [1, 2])
def test_methods_give_what_they_give_on_the_host(
    cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, method: str, images: int, request: pytest.FixtureRequest
) -> None:
    model, x = onnxray.load(cnn), RNG.standard_normal((images, 3, 16, 16)).astype(np.float32)
    more = {"providers": "cpu", "batch": 4, **METHODS[method]}
    expected = onnxray.explain(model, x, method, [1, 3] if images == 1 else 1, **more)
    sizes = request.getfixturevalue("there")
    got = onnxray.explain(model, x, method, [1, 3] if images == 1 else 1, **more)
    assert sizes, "the graphs did not run"
    assert set(sizes) == {4}, "one batch size"
    assert len(got) == len(expected) == 2
    for ours, theirs in zip(got, expected, strict=True):
        scale = np.abs(theirs.values).max()
        assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=2e-6 * scale)


CAMS = ("grad-cam", "grad-cam++", "hires-cam", "layer-cam", "xgrad-cam", "cam")


@pytest.mark.parametrize("method", CAMS)
def test_maps_are_weighed_where_they_are(cnn: onnx.ModelProto, method: str, request: pytest.FixtureRequest) -> None:
    model, x = onnxray.load(cnn), RNG.standard_normal((5, 3, 16, 16)).astype(np.float32)
    expected = onnxray.explain(model, x, method, providers="cpu", batch=2)
    sizes = request.getfixturevalue("there")
    got = onnxray.explain(model, x, method, providers="cpu", batch=2)
    assert sizes == [2, 2, 2], "one pass"
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.target == theirs.target
        assert_allclose(ours.score, theirs.score, rtol=1e-5)
        assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=2e-6 * np.abs(theirs.values).max())


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch, there: list[int]) -> dict[str, list[int]]:
    """Elements of every array that runs are fed and that is read from a device: each is a copy."""
    found: dict[str, list[int]] = {"in": [], "out": []}
    run, read = Session.run_on_device, onnxruntime.OrtValue.numpy

    def fed(self: Session, feeds: Any, outputs: Any = None) -> Any:
        found["in"] += [value.size for value in feeds.values() if isinstance(value, np.ndarray)]
        return run(self, feeds, outputs)

    def fetched(self: Any) -> Any:
        array = read(self)
        found["out"].append(array.size)
        return array

    monkeypatch.setattr(Session, "run_on_device", fed)
    monkeypatch.setattr(onnxruntime.OrtValue, "numpy", fetched)
    return found


@pytest.mark.parametrize(
    ("method", "more", "out"),
    [
        ("integrated-gradients", {"steps": 9}, [X.size]),
        ("smoothgrad-squared", {"samples": 9}, [X.size] * 2),
        ("grad-cam", {}, [5, 64]),
        ("occlusion", {"patch": 8, "stride": 8, "mode": "plain"}, [15, 15]),
        ("ablation-cam", {}, [15] * 3),
    ],
)
def test_between_stages_nothing_is_copied_to_the_host(
    cnn: onnx.ModelProto, crossed: dict[str, list[int]], method: str, more: dict[str, Any], out: list[int]
) -> None:
    """What is read from the device is the result of a method, or scores; what a run is fed are small numbers."""
    onnxray.explain(onnxray.load(cnn), X, method, 1, providers="cpu", batch=3, **more)
    assert crossed["out"] == out
    few = [size for size in crossed["in"] if size < 3 * 16]
    assert len(few) == len(crossed["in"]) or method.startswith("smoothgrad"), "an image was copied with a run"


@pytest.mark.parametrize("method", [*CAMS, "smoothgrad", "integrated-gradients"])
def test_models_in_half_precision_stay_on_the_device(
    cnn: onnx.ModelProto, method: str, request: pytest.FixtureRequest
) -> None:
    half = copy_of(cnn)
    for info in (half.graph.input[0], half.graph.output[0]):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for weights in half.graph.initializer:
        weights.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights).astype(np.float16), weights.name)
        )
    model, x = onnxray.load(half), RNG.standard_normal((3, 3, 16, 16)).astype(np.float16)
    expected = onnxray.explain(model, x, method, 1, providers="cpu", batch=2)
    sizes = request.getfixturevalue("there")
    got = onnxray.explain(model, x, method, 1, providers="cpu", batch=2)
    assert sizes, "the graphs did not run"
    for ours, theirs in zip(got, expected, strict=True):
        assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=2e-6 * np.abs(theirs.values).max())


def test_maps_are_weighed_for_several_targets_and_named_layers(
    cnn: onnx.ModelProto, request: pytest.FixtureRequest
) -> None:
    model = onnxray.load(cnn)
    more = {"providers": "cpu", "layer": ["stem_relu", onnxray.explain(model, X, "grad-cam").layer]}
    expected = onnxray.explain(model, X, "grad-cam", [0, 4], **more)
    sizes = request.getfixturevalue("there")
    got = onnxray.explain(model, X, "grad-cam", [0, 4], **more)
    assert len(sizes) == 2, "a pass for each layer"
    for ours, theirs in zip(got, expected, strict=True):
        assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=2e-6 * np.abs(theirs.values).max())


def test_segments_of_occlusion_are_painted_on_the_device(cnn: onnx.ModelProto, there: list[int]) -> None:
    model, segments = onnxray.load(cnn), np.arange(256).reshape(16, 16) // 40
    more = {"providers": "cpu", "segments": segments, "patch": None}
    got = onnxray.explain(model, X, "occlusion", 1, mode="plain", **more)
    assert there
    del there[:]
    expected = onnxray.explain(model, X, "occlusion", 1, mode="exact", **more)
    assert_allclose(got.values, expected.values, rtol=1e-4, atol=1e-6)


def test_pixels_of_metrics_are_hidden_on_the_device(cnn: onnx.ModelProto, request: pytest.FixtureRequest) -> None:
    """What insertion, deletion, region perturbation and the others look at."""
    problem, masks = problem_of(onnxray.load(cnn, layout="NCHW"), X, 2), RNG.random((6, 16, 16)) < 0.5
    explanation = onnxray.explain(onnxray.load(cnn, layout="NCHW"), X, "grad-cam", 2)
    case = Case(problem, explanation)
    rows = case.hidden(lambda numbers: masks[numbers], case.fill("blur"))
    expected = case.scores(6, rows)
    sizes = request.getfixturevalue("there")
    assert_allclose(case.scores(6, rows), expected, rtol=1e-6)
    assert sizes == [6]


def test_a_gradient_that_is_not_finite_stays_in_its_own_row() -> None:
    sums = DeviceSums(2, True, "cpu")
    values = np.array([[1.0, 2], [np.nan, np.inf], [3, 4], [9, 9]], np.float32)
    held = small_session(row_graphs.sums(False), "cpu").upload(values)
    sums.add(held, np.array([0, 1, 0]), np.array([0.5, 1, 2]))
    first, second = sums.fetch()
    assert_array_equal(first[0], [6.5, 9])
    assert_array_equal(second[0], [18.5, 34])
    assert not np.isfinite(first[1]).any()


# --- what does not fit ----------------------------------------------------------------------------------------------


def generated(model: onnxray.Model, count: int, runtime: RunOptions) -> np.ndarray:
    name, given = model.outputs[0].name, model.inputs[0].name
    boxes = np.stack([np.arange(count) % 12, np.arange(count) % 9, np.full(count, 14), np.full(count, 16)], 1)
    x, fill = X[0], np.zeros_like(X[0])

    def make(numbers: np.ndarray) -> dict[str, np.ndarray]:
        out = np.empty((len(numbers), *PLANAR), np.float32)
        occlusion_kernels.copies(out, x.reshape(PLANAR), fill.reshape(PLANAR), boxes[numbers])
        return {given: out.reshape(len(numbers), *x.shape)}

    def graph() -> row_graphs.RowGraph:
        made = row_graphs.occluded(x, PLANAR, fill, boxes.__getitem__)
        return row_graphs.RowGraph(made.model, made.dtype, made.constants, made.each, given)

    result = np.full((count, 5), np.nan)

    def consume(numbers: np.ndarray, got: dict[str, np.ndarray]) -> None:
        result[numbers] = got[name]

    run_generated(model, GeneratedRows(count, make, {given: X}, graph=graph), consume, [name], runtime=runtime)
    return result


def test_where_memory_does_not_suffice_half_as_many_rows_are_made(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, notices = onnxray.load(cnn), []
    expected = generated(model, 11, RunOptions("cpu", batch=1))
    refusing(monkeypatch, lambda self, feeds: self.outputs == ("logits",) and rows_in(feeds["image"]) > 3, OutOfMemory)
    del there[:]
    got = generated(model, 11, RunOptions("cpu", batch=8, on_notice=notices.append))
    assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert there == [8, 4, 2, 2, 2, 2, 2, 2]
    assert "8 inputs at once do not fit" in notices[0]


def refusing(
    monkeypatch: pytest.MonkeyPatch, refuses: Callable[[Session, Mapping[str, Any]], bool], error: type[Exception]
) -> list[int]:
    """Sessions that raise `error` where `refuses` holds of them and their feeds; the list has an entry for each."""
    run, found = Session.run_on_device, list[int]()

    def patched(self: Session, feeds: Mapping[str, Any], outputs: Any = None) -> Any:
        if refuses(self, feeds):
            found.append(1)
            raise error("the device refuses this run")
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run_on_device", patched)
    return found


def rows_in(value: Any) -> int:
    return int(value.shape()[0])


def adds_a_second_sum(self: Session, feeds: Mapping[str, Any]) -> bool:
    """Another image's sum has been added before."""
    return "first_so_far" in self.outputs and rows_in(feeds["values"]) > 2 and feeds["index"][0] > 0


def weighs(self: Session, feeds: Mapping[str, Any]) -> bool:
    return self.outputs == ("made",) and rows_in(feeds["activations"]) > 2


def makes(self: Session, feeds: Mapping[str, Any]) -> bool:
    return self.outputs == ("rows",) and len(feeds["row"]) > 2


@pytest.mark.parametrize(
    ("method", "options", "refuses", "sizes"),
    [
        ("smoothgrad", {"samples": 5}, adds_a_second_sum, [4, 2, 2, 2, 2, 2]),
        ("vargrad", {"samples": 5}, adds_a_second_sum, [4, 2, 2, 2, 2, 2]),
        ("smoothgrad", {"samples": 5}, makes, [4, 2, 2, 2, 2, 2]),
        ("grad-cam", {}, weighs, [4, 2, 2]),
    ],
)
def test_what_is_done_with_outputs_is_halved_as_the_runs_are(
    cnn: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    method: str,
    options: dict[str, Any],
    refuses: Callable[[Session, Mapping[str, Any]], bool],
    sizes: list[int],
) -> None:
    own = copy_of(cnn)
    own.graph.name = request.node.name  # what fits is remembered of a model
    model, notices = onnxray.load(own), list[str]()
    count = 4 if method == "grad-cam" else 2
    x = RNG.standard_normal((count, 3, 16, 16)).astype(np.float32)
    expected = onnxray.explain(model, x, method, 1, providers="cpu", batch=2, **options)
    there = request.getfixturevalue("there")
    refused = refusing(monkeypatch, refuses, OutOfMemory)
    got = onnxray.explain(model, x, method, 1, providers="cpu", batch=4, **options)
    assert refused
    assert there == sizes
    for ours, theirs in zip(got, expected, strict=True):
        notices += ours.warnings
        assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=2e-6 * np.abs(theirs.values).max())
    assert any("4 inputs at once do not fit" in text for text in notices)


@pytest.mark.parametrize("failures", [1, 1000])
def test_what_is_copied_once_and_does_not_fit_is_left_to_the_host(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    model, notices = onnxray.load(cnn), list[str]()
    expected = generated(model, 5, RunOptions("cpu", batch=4))
    upload, tried = Session.upload, list[int]()

    def full(self: Session, array: Any) -> Any:
        tried.append(1)
        if len(tried) <= failures:
            raise OutOfMemory("no room")
        return upload(self, array)

    monkeypatch.setattr(Session, "upload", full)
    del there[:]
    model = onnxray.load(cnn)
    for _ in range(2):
        got = generated(model, 5, RunOptions("cpu", batch=4, on_notice=notices.append))
        assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    if failures == 1:  # without the sessions that are kept there is room
        assert there == [4, 4, 4, 4]
        assert not notices
    else:
        assert not there
        assert len(tried) == 2, "the device is not asked again"
        assert notices == ["the host makes the inputs for CPU, which takes longer: no room"]


def test_more_than_a_device_is_given_at_once_is_left_to_the_host(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = onnxray.load(cnn), RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    methods: dict[str, dict[str, Any]] = {"integrated-gradients": {"steps": 3}, "smoothgrad": {"samples": 2}}
    expected = {method: onnxray.explain(model, x, method, 1, **more) for method, more in methods.items()}
    assert there
    del there[:]
    monkeypatch.setattr(device_rows, "_MOST_UPLOADED", x.nbytes - 1)
    for method, more in methods.items():
        got = onnxray.explain(model, x, method, 1, **more)
        for ours, theirs in zip(got, expected[method], strict=True):
            assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=2e-6 * np.abs(theirs.values).max())
    assert not there


@pytest.mark.parametrize("batch", [1, 4])
def test_a_device_that_fails_is_not_asked_again(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    model, notices = onnxray.load(cnn), list[str]()
    expected = generated(model, 5, RunOptions("cpu", batch=batch))
    del there[:]
    model = onnxray.load(cnn)
    refused = refusing(monkeypatch, lambda self, feeds: self.outputs == ("rows",), ModelError)
    for _ in range(3):
        got = generated(model, 5, RunOptions("cpu", batch=batch, on_notice=notices.append))
        assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert len(refused) == 1
    assert notices == ["the host makes the inputs for CPU, which takes longer: the device refuses this run"]


def test_rows_that_fail_later_are_run_one_by_one(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnxray.load(cnn)
    expected = generated(model, 11, RunOptions("cpu", batch=1))
    del there[:]

    def later(self: Session, feeds: Mapping[str, Any]) -> bool:
        return self.outputs == ("logits",) and len(there) > 1 and rows_in(feeds["image"]) > 1

    refusing(monkeypatch, later, ShapeError)
    assert_allclose(generated(model, 11, RunOptions("cpu", batch=4)), expected, rtol=1e-4, atol=1e-5)
    assert there == [4, 4, *[1] * 7]


def test_memory_is_given_back_before_fewer_rows_run(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions hold what their largest run took, small ones too."""
    model, before, makers = onnxray.load(copy_of(cnn)), list[Session](), list[set[int]]()
    small_session(row_graphs.sums(True), "cpu")

    def full(self: Session, feeds: Mapping[str, Any]) -> bool:
        if self.outputs == ("rows",):
            before.append(self)  # kept, so that no other session gets its address
            makers.append({id(one) for one in device_rows.small_sessions.values()})
        return self.outputs == ("logits",) and rows_in(feeds["image"]) > 2

    refusing(monkeypatch, full, OutOfMemory)
    generated(model, 4, RunOptions("cpu", batch=4))
    assert there == [4, 2, 2]
    assert before[1] is not before[0]
    assert before[2] is before[1]
    assert len(makers[0]) > 1
    assert makers[1] == {id(before[1])}


def test_outputs_do_not_outlive_their_run(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, run, held, alive = onnxray.load(cnn), device_rows.Stage.run, list[Any](), list[int]()

    def spied(self: Any, numbers: Any, each: Any, outputs: Any) -> Any:
        alive.append(sum(one() is not None for one in held))
        got = run(self, numbers, each, outputs)
        held.extend(weakref.ref(value) for value in got.values())
        return got

    monkeypatch.setattr(device_rows.Stage, "run", spied)
    generated(model, 5, RunOptions("cpu", batch=2))
    assert alive == [0, 0, 0]


def test_a_model_that_runs_one_sample_at_a_time_is_left_to_the_host(
    cnn: onnx.ModelProto, there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnxray.load(cnn)
    expected = generated(model, 5, RunOptions("cpu", batch=1))
    refusing(monkeypatch, lambda self, feeds: self.outputs == ("logits",) and rows_in(feeds["image"]) > 1, ShapeError)
    assert_allclose(generated(model, 5, RunOptions("cpu", batch=4)), expected, rtol=1e-4, atol=1e-5)


def test_a_model_with_a_fixed_batch_is_left_to_the_host(cnn: onnx.ModelProto, there: list[int]) -> None:
    fixed = copy_of(cnn)
    for info in (fixed.graph.input[0], fixed.graph.output[0]):
        info.type.tensor_type.shape.dim[0].dim_value = 2
    got = generated(onnxray.load(fixed), 4, RunOptions("cpu"))
    assert np.isfinite(got).all()
    assert not there


def test_on_the_cpu_no_graph_is_written(cnn: onnx.ModelProto) -> None:
    def never() -> Any:
        raise AssertionError("written")

    model = onnxray.load(cnn)
    rows = GeneratedRows(2, lambda n: {"image": np.repeat(X, len(n), 0)}, {"image": X}, graph=never)
    assert not batches.run_on_device(model, rows, never, ["logits"], runtime=RunOptions("cpu"))
