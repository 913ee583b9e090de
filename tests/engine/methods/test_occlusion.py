"""Occlusion against its definition, one window after the other; Captum; known answers; every kind of input and fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.baselines import baseline, inpainted
from onnxray.engine.explain import problem_of
from onnxray.engine.incremental import estimates
from onnxray.engine.incremental.runner import runners
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.inference.session import run
from onnxray.engine.methods import occlusion as module
from onnxray.engine.methods.registry import make
from onnxray.tests.engine.zoo import feeds_of
from onnxray.tests.rounding import HALF, ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(4)
X = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)


@pytest.fixture(autouse=True)
def cut_wherever_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner cuts small networks for few windows too: what is judged is the incremental way."""
    for name in ("SMALL", "GRAPH_TIME", "GRAPH_NODE_TIME", "RUN_TIME", "NODE_TIME"):
        monkeypatch.setattr(estimates, name, 0)
    runners.clear()


def starts(size: int, patch: int, stride: int) -> list[int]:
    found = list(range(0, size - patch + 1, stride))
    return found if found[-1] == size - patch else [*found, size - patch]


def by_hand(
    score: Callable[[np.ndarray], Any],
    x: np.ndarray,
    fill: np.ndarray,
    patch: tuple[int, int],
    stride: tuple[int, int],
    axes: tuple[int, int] = (1, 2),
) -> np.ndarray:
    """score(clean) - score(window hidden), (ny, nx, ...); x and fill: one sample."""
    rows, columns = (starts(x.shape[a], p, s) for a, p, s in zip(axes, patch, stride, strict=True))
    found = []
    for y in rows:
        for c in columns:
            hidden = x.copy()
            place: list[Any] = [slice(None)] * x.ndim
            place[axes[0]], place[axes[1]] = slice(y, y + patch[0]), slice(c, c + patch[1])
            hidden[tuple(place)] = fill[tuple(place)]
            found.append(score(x) - score(hidden))
    return np.reshape(found, (len(rows), len(columns), *np.shape(found[0])))


def span(e: onnxray.Explanation, expected: Any) -> float:
    """What rounding is in parts of: the range of the scores. A small window changes them by little of it."""
    return max(float(np.ptp(e.scores)), float(np.ptp(expected)))


def check(e: onnxray.Explanation, expected: Any, values: Any = None, limit: float = ROUNDING) -> None:
    """values: those of `e` unless said otherwise."""
    assert apart(e.values if values is None else values, expected, span(e, expected)) <= limit


def logits(model: onnx.ModelProto, target: Any) -> Callable[[np.ndarray], Any]:
    return lambda x: onnxray.activations(model, x[None], "logits")["logits"][0][target]


@pytest.mark.parametrize(
    ("patch", "stride"),
    [(4, 4), (4, 3), (5, None), ("3x7", 2), ("16x2", 5), (16, 1), (1, 5), (None, None)],
)
def test_it_is_the_definition(cnn: onnx.ModelProto, patch: Any, stride: int | None) -> None:
    e = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=patch, stride=stride, fill=0.4)
    sides = (2, 2) if patch is None else tuple(int(p) for p in str(patch).split("x")) * (1 if "x" in str(patch) else 2)
    steps = (stride, stride) if stride else tuple(max(1, side // 2) for side in sides)
    expected = by_hand(logits(cnn, 2), X[0], np.full_like(X[0], 0.4), sides, steps)
    assert e.values.dtype == np.float32
    check(e, expected)
    for mode in ("plain", "exact"):
        same = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=patch, stride=stride, fill=0.4, mode=mode)
        check(same, expected)


def test_the_exact_mode_runs_on_crops_here(cnn: onnx.ModelProto) -> None:
    """Else the tests of this file would compare the plain way with itself."""
    e = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=2, stride=1)
    assert e.details["stages"] >= 1
    assert e.details["inference"].startswith("exact: ")
    assert onnxray.explain(cnn, X[:1], "occlusion", 2, patch=2, mode="plain").details["stages"] == 0


@pytest.mark.parametrize("fill", ["zero", "mean", "blur", "noise", -1.5, np.array([1.0, 2.0, 3.0]), X[1]])
def test_fills(cnn: onnx.ModelProto, fill: Any) -> None:
    e = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=4, stride=3, fill=fill, seed=5)
    filled = baseline(problem_of(cnn, X[:1]), fill, 5)[0]
    expected = by_hand(logits(cnn, 2), X[0], filled, (4, 4), (3, 3))
    check(e, expected)


@pytest.mark.parametrize("fill", ["black", "#ff8000"])
def test_colours(cnn: onnx.ModelProto, fill: str) -> None:
    model = onnxray.load(cnn, size=16, mean=[120, 110, 100], std=[50, 60, 70], resize="stretch")
    image = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    e = onnxray.explain(model, image, "occlusion", 2, patch=4, stride=4, fill=fill)
    colour = {"black": (0, 0, 0), "#ff8000": (255, 128, 0)}[fill]
    pixel = (np.array(colour) - [120, 110, 100]) / np.array([50, 60, 70])
    x = ((image - np.array([120, 110, 100])) / np.array([50, 60, 70])).transpose(2, 0, 1).astype(np.float32)
    filled = np.broadcast_to(pixel[:, None, None], x.shape).astype(np.float32)
    expected = by_hand(logits(cnn, 2), x, filled, (4, 4), (4, 4))
    np.testing.assert_allclose(e.values, expected, atol=1e-4 * np.ptp(expected))


def test_inpainting_sees_only_what_is_not_hidden(cnn: onnx.ModelProto) -> None:
    e = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=4, stride=4, fill="inpaint")
    expected = np.empty((4, 4))
    clean = logits(cnn, 2)(X[0])
    for i in range(4):
        for j in range(4):
            mask = np.zeros((1, 16, 16), bool)
            mask[0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = True
            expected[i, j] = clean - logits(cnn, 2)(inpainted(X[0], (1, 2), mask)[0])
    check(e, expected)


def test_captum_gives_the_same(parse: Parse) -> None:
    torch, captum = pytest.importorskip("torch"), pytest.importorskip("captum.attr")
    w, head = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32), RNG.standard_normal((4, 3)).astype(np.float32)
    model = parse(
        """
        m (float[N, 3, 20, 24] x) => (float[N, 3] y)
        {
          a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Relu (a) c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
          d = GlobalAveragePool (c) e = Flatten (d) y = MatMul (e, head)
        }
        """,
        w=w,
        head=head,
    )

    def forward(x: Any) -> Any:
        maps = torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(w), padding=1))
        return torch.nn.functional.max_pool2d(maps, 2).mean(dim=(2, 3)) @ torch.from_numpy(head)

    x = RNG.standard_normal((1, 3, 20, 24)).astype(np.float32)
    judge = captum.Occlusion(forward)
    about = {"sliding_window_shapes": (3, 5, 4), "strides": (3, 5, 4), "baselines": 0.2, "target": 1}
    expected = judge.attribute(torch.from_numpy(x), **about).numpy()[0, 0]
    e = onnxray.explain(model, x, "occlusion", 1, patch="5x4", stride=4, fill=0.2)
    # Captum gives the drop of each window to its pixels; ours stand 4 apart in both directions.
    rows = starts(20, 5, 4)
    for i, y in enumerate(rows):
        if y % 5 == 0:
            np.testing.assert_allclose(e.values[i], expected[y, ::4], atol=1e-5)
    assert sum(y % 5 == 0 for y in rows) >= 2
    overlapping = {**about, "sliding_window_shapes": (3, 6, 6), "strides": (3, 2, 3)}
    expected = judge.attribute(torch.from_numpy(x), **overlapping).numpy()[0, 0]
    mean = onnxray.explain(model, x, "occlusion", 1, patch=6, stride=1, fill=0.2)
    drops = mean.values[:, :][::2, ::3]
    total, number = np.zeros((20, 24)), np.zeros((20, 24))
    for i in range(drops.shape[0]):
        for j in range(drops.shape[1]):
            total[2 * i : 2 * i + 6, 3 * j : 3 * j + 6] += drops[i, j]
            number[2 * i : 2 * i + 6, 3 * j : 3 * j + 6] += 1
    np.testing.assert_allclose(total / number, expected, atol=1e-5)


def linear(parse: Parse, side: int = 9) -> tuple[onnx.ModelProto, np.ndarray]:
    w = RNG.standard_normal((side * side, 3)).astype(np.float32)
    text = f"m (float[N, 1, {side}, {side}] x) => (float[N, 3] y) {{ f = Flatten (x) y = MatMul (f, w) }}"
    return parse(text, w=w), w


def test_a_linear_model_s_answer_is_known(parse: Parse) -> None:
    """The drop is the sum of weight times (input minus fill) over the window."""
    model, w = linear(parse)
    x = RNG.standard_normal((1, 1, 9, 9)).astype(np.float32)
    shares = w[:, 1].reshape(9, 9) * (x[0, 0] - 0.5)
    e = onnxray.explain(model, x, "occlusion", 1, patch="2x3", stride=4, fill=0.5)
    expected = [[shares[y : y + 2, c : c + 3].sum() for c in (0, 4, 6)] for y in (0, 4, 7)]
    check(e, expected)
    single = onnxray.explain(model, x, "occlusion", 1, patch=1, stride=1, fill=0.5)
    check(single, shares)
    check(single, shares, single.heatmap)


def test_the_shown_map_is_the_mean_of_the_windows_over_a_pixel(parse: Parse) -> None:
    model, _ = linear(parse)
    x = RNG.standard_normal((1, 1, 9, 9)).astype(np.float32)
    e = onnxray.explain(model, x, "occlusion", 0, patch=4, stride=3, fill=0)
    assert e.values.shape == (3, 3)
    total, number = np.zeros((9, 9)), np.zeros((9, 9))
    for i, y in enumerate((0, 3, 5)):
        for j, c in enumerate((0, 3, 5)):
            total[y : y + 4, c : c + 4] += e.values[i, j]
            number[y : y + 4, c : c + 4] += 1
    np.testing.assert_allclose(e.heatmap, total / number, atol=1e-5)


def test_the_most_probable_class_with_a_window_hidden(parse: Parse) -> None:
    """Figure 6 e of the paper."""
    model, w = linear(parse)
    expected = np.zeros((4, 4), int)
    while len(np.unique(expected)) == 1:  # an image on which something is decided by what is hidden
        x = RNG.standard_normal((1, 1, 9, 9)).astype(np.float32)
        for i, y in enumerate((0, 2, 4, 5)):
            for j, c in enumerate((0, 2, 4, 5)):
                hidden = x[0, 0].copy()
                hidden[y : y + 4, c : c + 4] = 0
                expected[i, j] = (hidden.reshape(-1) @ w).argmax()
    for e in onnxray.explain(model, x, "occlusion", [1, 2], patch=4, stride=2, fill="zero"):
        np.testing.assert_array_equal(e.details["classes"], expected)


def test_the_probability_with_a_window_hidden_and_the_window_that_costs_most(cnn: onnx.ModelProto) -> None:
    """Zeiler and Fergus, figure 6 d; against the network run on each hidden image."""
    model = onnxray.load(cnn, mean=0, std=1, order="RGB", size=16, resize="stretch")
    photo = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
    found = onnxray.explain(model, photo, "occlusion", [1, 3], patch=4, stride=4, fill=0.0)
    tensor = np.moveaxis(photo.astype(np.float32), -1, 0)[None]
    for e, c in zip(found, (1, 3), strict=True):
        for i, j in ((0, 0), (2, 1), (3, 3)):
            hidden = tensor.copy()
            hidden[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = 0
            y = onnxray.activations(model, hidden, layers=[model.outputs[0].name])[model.outputs[0].name].reshape(-1)
            p = np.exp(y - y.max()) / np.exp(y - y.max()).sum()
            assert e.details["probability"][i, j] == pytest.approx(p[c], rel=1e-3, abs=1e-6)
        assert np.array_equal(e.details["probability_map"], np.kron(e.details["probability"], np.ones((4, 4))))
        i, j = np.unravel_index(e.values.argmax(), e.values.shape)
        assert e.details["window"] == (4 * i, 4 * j, 4 * i + 4, 4 * j + 4)
        y0, x0, y1, x1 = e.details["window"]
        assert not e.details["window_shown"][y0:y1, x0:x1].any()
        e.details["window_shown"][y0:y1, x0:x1] = photo[y0:y1, x0:x1]
        assert np.array_equal(e.details["window_shown"], photo)


def test_a_unit_of_a_layer(cnn: onnx.ModelProto) -> None:
    """Figure 6 b: what becomes of a feature map. The map is local to its end: it is never run whole."""

    def unit(x: np.ndarray) -> float:
        return float(onnxray.activations(cnn, x[None], "inner")["inner"][0, 3, 2, 5])

    e = onnxray.explain(cnn, X[:1], "occlusion", "unit:inner:3,2,5", patch=2, stride=1, fill="zero")
    expected = by_hand(unit, X[0], np.zeros_like(X[0]), (2, 2), (1, 1))
    check(e, expected)
    y, x = np.nonzero(np.abs(e.values) > ROUNDING * np.ptp(expected))
    # Pixels 1 ... 8 of rows and 7 ... 14 of columns are its receptive field.
    assert (y.min(), y.max()) >= (0, 0)
    assert y.max() <= 8
    assert x.min() >= 6
    assert "classes" not in e.details
    whole = onnxray.explain(cnn, X[:1], "occlusion", "unit:inner:3", patch=4, stride=4, fill="zero")
    mean = by_hand(
        lambda x: float(onnxray.activations(cnn, x[None], "inner")["inner"][0, 3].mean()),
        X[0],
        np.zeros_like(X[0]),
        (4, 4),
        (4, 4),
    )
    assert np.corrcoef(whole.values.reshape(-1), mean.reshape(-1))[0, 1] > 0.999


def test_several_samples_and_targets(cnn: onnx.ModelProto) -> None:
    together = onnxray.explain(cnn, X, "occlusion", "classes:4,0", patch=4, stride=4, fill="zero")
    for number, e in enumerate(together):
        sample, target = divmod(number, 2)
        expected = by_hand(logits(cnn, (4, 0)[target]), X[sample], np.zeros_like(X[0]), (4, 4), (4, 4))
        check(e, expected)
        assert e.target.class_index == (4, 0)[target]


def test_several_patch_sizes_are_averaged(cnn: onnx.ModelProto) -> None:
    small, large = (onnxray.explain(cnn, X[:1], "occlusion", 1, patch=p) for p in (2, "6x4"))
    both = onnxray.explain(cnn, X[:1], "occlusion", 1, patch="2,6x4")
    assert both.values.shape == (16, 16)
    np.testing.assert_allclose(both.values, (small.heatmap + large.heatmap) / 2, atol=1e-5 * np.ptp(both.values))
    again = onnxray.explain(cnn, X[:1], "occlusion", 1, patch=(2, "6x4"))
    np.testing.assert_array_equal(again.values, both.values)
    assert both.details["classes_0"].shape == (15, 15)
    assert both.details["classes_1"].shape == large.details["classes"].shape


def test_segments(cnn: onnx.ModelProto) -> None:
    labels = (np.arange(16)[:, None] // 5 * 3 + np.arange(16) // 6).astype(np.int64)
    labels[:, 15] = -1
    for mode in ("exact", "plain"):
        e = onnxray.explain(cnn, X[:1], "occlusion", 2, segments=labels, fill=0.7, mode=mode)
        assert e.values.shape == (16, 16)
        assert not e.values[:, 15].any()
        clean = logits(cnn, 2)(X[0])
        for segment in range(labels.max() + 1):
            drop = clean - logits(cnn, 2)(np.where(labels == segment, np.float32(0.7), X[0]))
            np.testing.assert_allclose(e.values[labels == segment], drop, atol=1e-5)
            assert e.details["weights"][segment] == pytest.approx(float(drop), abs=1e-5)
        assert e.details["classes"].shape == (labels.max() + 1,)
    ablation = onnxray.explain(cnn, X[:1], "ablation", 2, segments=labels, fill="inpaint")
    same = onnxray.explain(cnn, X[:1], "occlusion", 2, segments=labels, fill="inpaint")
    np.testing.assert_allclose(same.values, ablation.values, atol=1e-5)
    slic = onnxray.explain(cnn, X[:1], "occlusion", 2, segments=12)
    assert 2 <= len(slic.details["weights"]) <= 30
    grid = onnxray.explain(cnn, X[:1], "occlusion", 2, segments="grid", grid=4)
    windows = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=4, stride=4)
    np.testing.assert_allclose(grid.values[::4, ::4], windows.values, atol=1e-5)


# --- other models ---


def test_a_random_forest_on_a_table(zoo: Path) -> None:
    """Each column hidden; the zoo holds what the forest itself says."""
    folder = zoo / "frameworks" / "s_random_forest_op17"
    with np.load(folder / "io.npz") as arrays:
        x, expected = arrays["in:X"], arrays["occlusion0:X"]
    found = onnxray.explain(folder / "model.onnx", x, "occlusion", onnxray.Target.several([0, 1, 2]))
    assert len(found) == 3 * len(x)
    for number, e in enumerate(found):
        sample, target = divmod(number, 3)
        assert e.values.shape == (8,)
        check(e, expected[:, sample, target])
    wide = onnxray.explain(folder / "model.onnx", x[:1], "occlusion", 1, patch=3, stride=2)
    assert wide.values.shape == (4,)


def test_a_signal(parse: Parse) -> None:
    """Windows along the last axis, across all channels."""
    w = RNG.standard_normal((2, 10)).astype(np.float32)
    proto = parse(
        "m (float[N, 2, 10] x) => (float[N, 1] y) { p = Mul (x, w) s = ReduceSum <keepdims = 0> (p, both) y = Unsqueeze (s, one) }",
        w=w,
        both=np.array([1, 2]),
        one=np.array([1]),
    )
    x = RNG.standard_normal((2, 2, 10)).astype(np.float32)
    found = onnxray.explain(proto, x, "occlusion", 0, patch=4, stride=4)
    for e, sample in zip(found, x, strict=True):
        shares = (sample * w).sum(axis=0)
        check(e, np.array([shares[a : a + 4].sum() for a in (0, 4, 6)]))


def test_a_sequence(parse: Parse) -> None:
    """Windows over time and features, and segments of them."""
    w = RNG.standard_normal((6, 4)).astype(np.float32)
    proto = parse(
        "m (float[N, 6, 4] x) => (float[N, 1] y) { p = Mul (x, w) s = ReduceSum <keepdims = 0> (p, both) y = Unsqueeze (s, one) }",
        w=w,
        both=np.array([1, 2]),
        one=np.array([1]),
    )
    x = RNG.standard_normal((1, 6, 4)).astype(np.float32)
    shares = x[0] * w
    check(onnxray.explain(proto, x, "occlusion", 0), shares)
    stretch = onnxray.explain(proto, x, "occlusion", 0, patch="3x4", stride=3)
    check(stretch, np.array([[shares[:3].sum()], [shares[3:].sum()]]))
    for mode in ("exact", "plain"):
        found = onnxray.explain(proto, x, "occlusion", 0, mode=mode, segments=np.repeat(np.arange(3), 8).reshape(6, 4))
        check(found, np.repeat(shares.reshape(3, 8).sum(axis=1), 8).reshape(6, 4))


def test_a_series_is_hidden_along_its_times(parse: Parse) -> None:
    """A matrix reads the features: windows over times, through all features; with two numbers, parts of features."""
    m, w = RNG.standard_normal((4, 1)).astype(np.float32), RNG.standard_normal((6, 1)).astype(np.float32)
    proto = parse(
        "m (float[N, 6, 4] x) => (float[N, 1] y) { h = MatMul (x, m) p = Mul (h, w) y = ReduceSum <keepdims = 0> (p, one) }",
        m=m,
        w=w,
        one=np.array([1]),
    )
    x = RNG.standard_normal((1, 6, 4)).astype(np.float32)
    shares = x[0] * m[:, 0] * w
    check(onnxray.explain(proto, x, "occlusion", 0), shares.sum(axis=1))
    check(onnxray.explain(proto, x, "occlusion", 0, patch=2, stride=2), shares.sum(axis=1).reshape(3, 2).sum(axis=1))
    check(onnxray.explain(proto, x, "occlusion", 0, patch=[1, 1]), shares)


def test_a_volume(parse: Parse) -> None:
    """Boxes through all channels."""
    w = RNG.standard_normal((2, 4, 6, 8)).astype(np.float32)
    proto = parse(
        """m (float[N, 2, 4, 6, 8] x) => (float[N, 1] y) { p = Mul (x, w)  c = Conv (p, k)
             s = ReduceSum <keepdims = 0> (c, all)  y = Unsqueeze (s, one) }""",
        w=w,
        k=np.ones((1, 2, 1, 1, 1), np.float32),
        all=np.array([1, 2, 3, 4]),
        one=np.array([1]),
    )
    x = RNG.standard_normal((1, 2, 4, 6, 8)).astype(np.float32)
    model = onnxray.load(proto, input="x")
    shares = (x[0] * w).sum(axis=0)
    boxes = shares.reshape(2, 2, 3, 2, 2, 4).sum(axis=(1, 3, 5))
    for patch in ("2x2x4", [2, 2, 4]):
        e = onnxray.explain(model, x, "occlusion", 0, patch=patch, stride=None)
        assert e.values.shape == (3, 5, 3)  # in steps of half a box
        np.testing.assert_allclose(e.values[::2, ::2, ::2], boxes, atol=1e-4)
    whole = onnxray.explain(model, x, "occlusion", 0)
    assert whole.values.shape == (4, 6, 8)
    np.testing.assert_allclose(whole.values, shares, atol=1e-4)
    with pytest.raises(onnxray.OnnxrayError, match="does not fit the volume"):
        onnxray.explain(model, x, "occlusion", 0, patch=5)
    with pytest.raises(onnxray.OnnxrayError, match="is a number, DxHxW"):
        onnxray.explain(model, x, "occlusion", 0, patch="2x2")


def test_an_answer_whose_length_varies(parse: Parse) -> None:
    """Behind non-maximum suppression or NonZero every input has another number of results."""
    proto = parse(
        """m (float[1, 4, 4] x) => (float[1, K] y) {
            f = Reshape (x, flat)  l = Reshape (x, line)  z = Greater (l, half)  y = Compress <axis = 1> (f, z) }""",
        flat=np.array([1, 16]),
        line=np.array([16]),
        half=np.array(0.5, np.float32),
    )
    x = np.where(np.eye(4)[None] > 0, 1, 0).astype(np.float32)
    with pytest.raises(onnxray.OnnxrayError, match="behind a choice that the model makes"):
        onnxray.explain(proto, x, "occlusion", onnxray.Target.element("y", (0,)))


def test_a_long_signal_is_hidden_in_stretches(parse: Parse) -> None:
    w = RNG.standard_normal((4000, 1)).astype(np.float32)
    proto = parse("m (float[N, 4000] x) => (float[N, 1] y) { y = MatMul (x, w) }", w=w)
    x = RNG.standard_normal((1, 4000)).astype(np.float32)
    found = onnxray.explain(proto, x, "occlusion", 0)
    assert found.values.size <= 130
    assert "one by one would take 4000 runs" in found.reason
    assert f"{found.values.size} runs" in found.reason
    shares = x[0] * w[:, 0]
    np.testing.assert_allclose(found.values[:2], [shares[:63].sum(), shares[31:94].sum()], atol=1e-3)
    assert onnxray.explain(proto, x, "occlusion", 0, patch=1000).values.shape == (7,)


@pytest.mark.parametrize(
    "case",
    """s_knn_op13 s_pipeline_scaler_mlp_op17 t_if_op17 t_loop_op17 t_fp64_op17 t_fp16_cnn_op17 t_uint8_nhwc_op17
    t_int8_nchw_op13 t_multimodal_op17 k_gru_text_op13 k_cnn_op17 t_ts_transformer_op14 t_plaincnn_b1_op11
    q_qdq_t_resnet_basic_op17 t_qat_pertensor_op13""".split(),
)
def test_any_model_that_runs_can_be_explained(zoo: Path, case: str) -> None:
    """Trees, control flow, half and double precision, integers, several inputs, sequences, one sample only."""
    folder = zoo / "frameworks" / case
    x = feeds_of(folder)
    exact = onnxray.explain(folder / "model.onnx", x, "occlusion")
    plain = onnxray.explain(folder / "model.onnx", x, "occlusion", mode="plain")
    for e, p in zip(exact, plain, strict=True):
        assert np.isfinite(e.values).all()
        assert e.values.any()
        check(e, p.values, limit=HALF if "fp16" in case else ROUNDING)


def test_one_of_several_inputs(zoo: Path) -> None:
    folder = zoo / "frameworks" / "t_multimodal_op17"
    x = feeds_of(folder)
    model = onnxray.load(folder / "model.onnx")
    out = model.outputs[0].name
    found = onnxray.explain(model, x, "occlusion", 3, patch=8, stride=8, fill="zero")
    for number, e in enumerate(found):
        one = {name: array[number : number + 1] for name, array in x.items()}

        def score(image: np.ndarray, one: dict[str, np.ndarray] = one) -> float:
            return float(run(model, {**one, "image": image[None]}, [out])[out][0, 3])

        expected = by_hand(score, x["image"][number], np.zeros_like(x["image"][0]), (8, 8), (8, 8))
        check(e, expected)


def test_uint8_images_with_channels_last(parse: Parse) -> None:
    w = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto = parse(
        """
        m (uint8[N, 12, 14, 3] x) => (float[N, 4] y)
        {
          r = Cast <to = 1> (x) t = Transpose <perm = [0, 3, 1, 2]> (r) c = Conv (t, w) d = Relu (c)
          g = GlobalAveragePool (d) y = Flatten (g)
        }
        """,
        w=w,
    )
    x = RNG.integers(0, 256, (1, 12, 14, 3)).astype(np.uint8)
    model = onnxray.load(proto, layout="NHWC")
    e = onnxray.explain(model, x, "occlusion", 2, patch=3, stride=3, fill=117)
    fill = np.full_like(x[0], 117)

    def score(image: np.ndarray) -> float:
        return float(onnxray.activations(proto, image[None], "y")["y"][0, 2])

    expected = by_hand(score, x[0], fill, (3, 3), (3, 3), (0, 1))
    np.testing.assert_allclose(e.values, expected, atol=1e-4 * np.ptp(expected))


# --- approximations, asked for ---


@pytest.mark.parametrize(("mode", "more"), [("coarse-to-fine", {"budget": 0.3}), ("capped", {"cap": 0.15})])
def test_approximations_tell_their_true_error(
    cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, mode: str, more: dict[str, float]
) -> None:
    exact = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=3, stride=1)
    about = {"patch": 3, "stride": 1, "mode": mode, **more}
    e = onnxray.explain(cnn, X[:1], "occlusion", 2, **about)
    assert e.values.shape == exact.values.shape
    assert e.details["checked_places"] == module.CHECKED
    error = np.abs(e.values - exact.values)
    assert 0 < e.details["largest_error"] <= error.max() + 1e-5
    assert e.details["largest_relative_error"] == pytest.approx(e.details["largest_error"] / np.ptp(e.values), rel=1e-3)
    again = onnxray.explain(cnn, X[:1], "occlusion", 2, **about)
    assert again.values.tobytes() == e.values.tobytes()
    numbers = [{k: v for k, v in one.details.items() if not isinstance(v, np.ndarray)} for one in (e, again)]
    assert numbers[0] == numbers[1]
    other = onnxray.explain(cnn, X[:1], "occlusion", 2, seed=1, **about)
    assert other.details["mean_error"] != e.details["mean_error"]
    assert other.values.tobytes() == e.values.tobytes()
    monkeypatch.setattr(module, "CHECKED", 10_000)  # every place that was not looked at
    every = onnxray.explain(cnn, X[:1], "occlusion", 2, **about)
    assert every.details["largest_error"] == pytest.approx(error.max(), abs=1e-5)
    assert np.corrcoef(e.values.reshape(-1), exact.values.reshape(-1))[0, 1] > 0.7
    if mode == "coarse-to-fine":
        assert 0.05 < e.details["looked_at"] <= 0.3
        assert (error < 1e-5).mean() >= e.details["looked_at"]
        assert "classes" not in e.details
    else:
        assert e.details["inference"].startswith("approximate")
        assert every.details["mean_error"] == pytest.approx(error.mean(), rel=1e-3)


def test_nothing_left_out_is_exact(cnn: onnx.ModelProto) -> None:
    exact = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=4, stride=2)
    for mode in ({"mode": "coarse-to-fine", "budget": 1.0}, {"mode": "capped", "cap": 1.0}):
        e = onnxray.explain(cnn, X[:1], "occlusion", 2, patch=4, stride=2, **mode)
        check(e, exact.values)
        assert e.details.get("largest_error", 0) <= ROUNDING * span(e, exact.values)


# --- the run ---


def test_progress_is_told(cnn: onnx.ModelProto) -> None:
    told: list[tuple[int, int]] = []
    runtime = RunOptions(progress=lambda done, total: told.append((done, total)), batch=7, threads=2)
    about = [
        ({"patch": 4, "stride": 2}, 2 * 49),
        ({"patch": 4, "stride": 2, "mode": "plain"}, 2 * 49),
        ({"patch": (4, 8), "stride": 4}, 2 * (16 + 9)),
        ({"patch": 4, "stride": 1, "mode": "coarse-to-fine", "budget": 0.5}, 2 * (84 + 16)),
        ({"patch": 4, "stride": 2, "mode": "capped"}, 2 * (49 + 16)),
        ({"segments": "grid", "grid": 5}, 2 * 25),
    ]
    for options, total in about:
        told.clear()
        make("occlusion", options)(problem_of(cnn, X, [0, 1], runtime=runtime))
        assert {t for _, t in told} == {total}, options
        done = [d for d, _ in told]
        assert done == sorted(done)
        assert done[-1] == total
        assert len(done) > 2
    table = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> m (float[N, 6] x) => (float[N, 2] y) { y = Concat <axis = 1> (x) }'.replace(
            "float[N, 2] y", "float[N, 6] y"
        )
    )
    told.clear()
    make("occlusion", {})(problem_of(table, np.ones((3, 6), np.float32), 0, runtime=runtime))
    assert told[-1] == (18, 18)


@pytest.mark.parametrize("mode", ["exact", "plain", "capped", "coarse-to-fine"])
def test_threads_and_repetition_change_no_byte(cnn: onnx.ModelProto, mode: str) -> None:
    found = []
    for threads in (1, 2, 3, 2):
        runners.clear()
        found.append(onnxray.explain(cnn, X, "occlusion", 2, patch=3, stride=1, mode=mode, threads=threads).values)
    assert len({values.tobytes() for values in found}) == 1


def test_what_was_made_ready_is_used_again(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    onnxray.explain(model, X[:1], "occlusion", 2, patch=4, stride=2)
    (first,) = runners.values()
    onnxray.explain(model, X[1:], "occlusion", 2, patch=4, stride=2)
    onnxray.explain(onnxray.load(cnn), X[1:], "occlusion", 0, patch=4, stride=2)
    assert [*runners.values()] == [first]
    for patch in (3, 5, 6, 7):
        onnxray.explain(model, X[:1], "occlusion", 2, patch=patch, stride=2)
    assert sum(bool(ready.plan.stages) for ready in runners.values()) <= 2


# --- what cannot be ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 17}, "a patch of 17 rows is larger than the model's input of 16"),
        ({"patch": "4x20"}, "a patch of 20 columns is larger"),
        ({"patch": 0}, "windows of 0 rows"),
        ({"patch": "wide"}, "patch must be pixels"),
        ({"patch": "4x"}, "patch must be pixels"),
        ({"stride": 0}, "stride of occlusion must be an integer of at least 1"),
        ({"stride": -2}, "stride of occlusion must be an integer of at least 1"),
        ({"fill": np.zeros((4, 4), np.float32)}, "does not fit samples of shape"),
        ({"fill": np.zeros((2,), np.float32)}, "does not fit samples of shape"),
        ({"fill": "#12345"}, "write it as #rrggbb"),
        ({"fill": "blurr"}, "nearest: 'blur'"),
        ({"mode": "exakt"}, "nearest: 'exact'"),
        ({"segments": np.zeros((3, 3), int)}, "do not fit the input"),
        ({"segments": np.ones((2, 16, 16), bool)}, "for masks that overlap use `ablation`"),
        ({"segments": np.zeros((16, 16), int), "mode": "capped"}, "mode 'capped' is for windows on a grid"),
        ({"budget": 0}, "budget of occlusion must be a number from 0.001"),
        ({"cap": 2}, "cap of occlusion must be a number"),
    ],
)
def test_bad_input_gets_one_clear_line(cnn: onnx.ModelProto, options: dict[str, Any], message: str) -> None:
    with pytest.raises(onnxray.OnnxrayError, match=message) as caught:
        onnxray.explain(cnn, X[:1], "occlusion", 1, **options)
    assert "\n" not in str(caught.value)


def test_a_target_that_does_not_depend_on_the_image(parse: Parse) -> None:
    proto = parse(
        """
        m (float[N, 3, 8, 8] image, float[N, 4] meta) => (float[N, 2] y, float[N, 4] z)
        { g = GlobalAveragePool (image) f = Flatten (g) y = MatMul (f, w) z = Relu (meta) }
        """,
        w=np.ones((3, 2), np.float32),
    )
    x = {"image": X[:1, :, :8, :8], "meta": np.ones((1, 4), np.float32)}
    with pytest.raises(onnxray.OnnxrayError, match="'z', which does not depend on the input 'image': choose another"):
        onnxray.explain(proto, x, "occlusion", "element:z:1")


def test_inputs_that_are_no_image(parse: Parse) -> None:
    table = parse("m (float[N, 5] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=np.ones((5, 3), np.float32))
    x = np.ones((1, 5), np.float32)
    for options, said in (
        ({"patch": "1,2"}, "give one patch, not 2 sizes"),
        ({"patch": "1x2"}, "windows slide along axis 1 .* give one number"),
        ({"mode": "coarse-to-fine"}, "mode 'coarse-to-fine' is for images"),
        ({"segments": "grid"}, "a grid of 8 is finer than the input of 5"),
        ({"segments": "slic"}, "superpixels are parts of an image, a signal or a volume"),
    ):
        with pytest.raises(onnxray.OnnxrayError, match=said):
            onnxray.explain(table, x, "occlusion", 0, **options)
    with pytest.raises(onnxray.OnnxrayError, match="a patch of 6 columns is larger than the model's input of 5"):
        onnxray.explain(table, x, "occlusion", 0, patch=6)
    with pytest.raises(onnxray.OnnxrayError, match="is for images and the input is none"):
        onnxray.explain(table, x, "occlusion", 0, fill="blur")


def test_images_are_hidden_by_their_blurred_selves_unless_said_otherwise(cnn: onnx.ModelProto) -> None:
    default, blur, zero = (
        onnxray.explain(cnn, X[:1], "occlusion", 2, patch=4, stride=2, **fill).values
        for fill in ({}, {"fill": "blur"}, {"fill": "zero"})
    )
    assert np.array_equal(default, blur)
    assert not np.array_equal(default, zero)
