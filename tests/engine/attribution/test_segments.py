"""Features: superpixels, grids, elements, labels and masks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.problem import Problem
from onnxray.engine.attribution.segments import Features, features_of
from onnxray.engine.explain import problem_of

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(6)
X = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)


def found(problem: Problem, segments: Any = "auto", grid: int = 8, compactness: float = 10.0) -> list[Features]:
    return features_of(problem, segments, grid, compactness)


@pytest.fixture
def table(parse: Parse) -> Problem:
    model = parse("m (float[N, 5, 4] x) => (float[N, 20] y) { y = Flatten (x) }")
    return problem_of(model, RNG.standard_normal((2, 5, 4)).astype(np.float32), 0)


def test_superpixels_follow_the_image(parse: Parse) -> None:
    model = parse("m (float[N, 3, 64, 64] x) => (float[N, 3] y) { g = GlobalAveragePool (x) y = Flatten (g) }")
    model = onnxray.load(model, size=64, mean=[120, 110, 100], std=[50, 60, 70], resize="stretch")
    image = np.zeros((128, 128, 3), np.uint8)
    cv2.circle(image, (56, 60), 36, (250, 200, 0), -1)
    (features,) = found(problem_of(model, image), 25)
    small = cv2.resize(image[..., 0], (64, 64), interpolation=cv2.INTER_AREA) > 125
    assert features.on_plane
    assert features.labels.shape == (64, 64)
    assert 15 <= len(features) <= 35
    assert sorted(set(features.labels.ravel().tolist())) == list(range(len(features)))
    inside = [small[features.labels == i].mean() for i in range(len(features))]
    assert np.mean([min(share, 1 - share) for share in inside]) < 0.02
    squares = found(problem_of(model, image), "grid", 5)[0].labels
    assert np.mean([min(s, 1 - s) for i in range(25) for s in [small[squares == i].mean()]]) > 0.05
    (again,) = found(problem_of(model, image), 25)
    assert np.array_equal(features.labels, again.labels)


def test_more_superpixels_where_more_are_asked_for(cnn: onnx.ModelProto) -> None:
    problem = problem_of(cnn, X)
    few, many = (len(found(problem, count)[0]) for count in (6, 60))
    assert few < 12 < 30 < many
    assert "superpixels" in found(problem)[0].kind


@pytest.mark.parametrize("cells", [1, 2, 5, 16])
def test_grids_are_even(cnn: onnx.ModelProto, cells: int) -> None:
    features = found(problem_of(cnn, X), "grid", cells)[0]
    assert len(features) == cells * cells
    assert np.array_equal(np.unique(features.labels), np.arange(cells * cells))
    sides = np.bincount(features.labels[:, 0] // cells)
    assert np.ptp(sides) <= 1
    assert np.array_equal(features.labels, (cells * cells - 1) - features.labels[::-1, ::-1])


def test_elements_of_what_is_no_image(table: Problem) -> None:
    for features in found(table):
        assert not features.on_plane
        assert np.array_equal(features.labels, np.arange(20).reshape(5, 4))
    for segments in ("slic", 30):
        with pytest.raises(onnxray.OnnxrayError, match="parts of an image, a signal or a volume, and 'x' is none"):
            found(table, segments)


def test_labels_are_broadcast_over_elements(table: Problem) -> None:
    steps = found(table, np.array([[3], [3], [-1], [0], [9]]))[0]
    assert steps.names == (0, 3, 9)
    assert np.array_equal(steps.labels, np.repeat([[1], [1], [-1], [0], [2]], 4, axis=1))
    columns = found(table, np.array([0, 1, 0, 1]))[1]
    assert np.array_equal(columns.labels, np.tile([0, 1, 0, 1], (5, 1)))
    own = found(table, np.arange(40).reshape(2, 5, 4))
    assert own[1].names == tuple(range(20, 40))
    assert np.array_equal(own[1].labels, np.arange(20).reshape(5, 4))
    masks = found(
        table, np.array([[[True], [True], [False], [False], [False]], [[False], [True], [True], [False], [False]]])
    )
    assert len(masks[0]) == 2


def test_labels_of_images(cnn: onnx.ModelProto) -> None:
    problem = problem_of(cnn, X)
    plane = np.arange(256).reshape(16, 16) // 100
    assert all(f.on_plane and np.array_equal(f.labels, plane) for f in found(problem, plane))
    own = found(problem, np.stack([plane, plane + 1]))
    assert own[1].names == (1, 2, 3)
    every = np.arange(768).reshape(3, 16, 16) // 7
    assert all(not f.on_plane and np.array_equal(f.labels, every) for f in found(problem, every))
    three = RNG.random((3, 16, 16)) < 0.5  # masks for three features, not one over the channels
    assert all(f.on_plane and len(f) == 3 for f in found(problem, three))


@pytest.mark.parametrize("count", [1, 3, 11])
def test_overlapping_masks_become_atoms(cnn: onnx.ModelProto, count: int) -> None:
    masks = RNG.random((count, 16, 16)) < 0.3
    features = found(problem_of(cnn, X), masks)[0]
    assert len(features) == count
    assert features.covers is not None
    keep = RNG.random((9, count)) < 0.5
    seen = np.concatenate([features.seen(keep), np.ones((9, 1), bool)], axis=1)[:, features.labels]
    hidden = np.einsum("bf,fhw->bhw", ~keep, masks) > 0
    assert np.array_equal(seen, ~hidden)
    values = RNG.standard_normal(count)
    assert np.allclose(features.spread(values), np.einsum("f,fhw->hw", values, masks), atol=1e-6)
    shares = RNG.random((2, count))
    soft = np.concatenate([features.seen(shares), np.ones((2, 1))], axis=1)[:, features.labels]
    assert np.allclose(soft, np.where(masks, shares[:, :, None, None], 1).min(axis=1))


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        (np.zeros((16, 15), int), r"labels of shape \[16, 15\] do not fit.*must be \[16, 16\]"),
        (np.zeros((5, 16, 16), int), "do not fit"),
        (np.zeros((2, 3, 3), bool), "masks of shape .* a mask for each feature"),
        (np.zeros((16, 16)), "whole numbers .* not float64"),
        (np.zeros((0, 16, 16), bool), "empty"),
        (np.full((16, 16), -2), "nothing to hide"),
        (np.zeros((2, 16, 16), bool), "mask 0 of the segments covers nothing"),
    ],
)
def test_segments_that_do_not_fit(cnn: onnx.ModelProto, segments: np.ndarray, said: str) -> None:
    with pytest.raises(onnxray.OnnxrayError, match=said) as caught:
        found(problem_of(cnn, X), segments)
    assert "\n" not in str(caught.value)


def test_labels_that_fit_no_table(table: Problem) -> None:
    with pytest.raises(onnxray.OnnxrayError, match=r"labels of shape \[6\] do not fit .* \[5, 4\]"):
        found(table, np.zeros(6, int))


def test_names_of_options_are_checked(cnn: onnx.ModelProto) -> None:
    with pytest.raises(onnxray.OnnxrayError, match=r"one of auto, slic, grid, elements, .* \(nearest: 'slic'\)"):
        onnxray.explain(cnn, X, "lime", segments="slick")
    with pytest.raises(onnxray.OnnxrayError, match="from 1 to"):
        onnxray.explain(cnn, X, "lime", segments=0)


def test_libraries_are_loaded_when_they_are_needed() -> None:
    code = "import sys, onnxray.engine.methods as m; m.methods(); print([n for n in ('skimage', 'scipy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
