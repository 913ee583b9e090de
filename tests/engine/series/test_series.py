"""Series: axes that are found, planted steps that are found again, stretches, fills, forecasts."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxray
from onnxray.engine.attribution.baselines import interpolated
from onnxray.engine.attribution.series import takes_series, tensor_of
from onnxray.engine.errors import MethodError, ShapeError
from onnxray.kernels.change_points import change_points
from onnxray.tests.engine.series.models import FEATURES, LONG, NAMES, PLANTED, TIMES, forecast, network, planted

METHODS = {
    "integrated-gradients": {},
    "occlusion": {"patch": f"{LONG // 2}x1", "stride": 1},
    "kernel-shap": {"segments": "grid", "grid": [20, FEATURES]},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", METHODS)
def test_planted_steps_are_found(name: str, method: str) -> None:
    """The greatest value lies in the step of at least 19 of 20 series, and its feature alone has most of the sum."""
    x, starts = planted(20)
    model = onnxray.load(network(name), answer="number")
    hits, shares = 0, []
    for series, start in zip(x, starts, strict=True):
        e = onnxray.explain(model, onnxray.Series(series), method, target="value", **METHODS[method])
        values = np.asarray(e.values, np.float64)
        if method == "occlusion" and values.shape[-2:] != (TIMES, FEATURES):
            values = np.asarray(e.map, np.float64)
        values = values if values.shape == (TIMES, FEATURES) else values.T
        assert values.shape == (TIMES, FEATURES)
        time, feature = np.unravel_index(np.argmax(values), values.shape)
        hits += feature == PLANTED and start - 1 <= time <= start + LONG
        shares.append(np.abs(values[:, PLANTED]).sum() / np.abs(values).sum())
    assert hits >= 19
    assert np.median(shares) >= 0.6


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_found_and_said(name: str) -> None:
    model = onnxray.load(network(name))
    assert takes_series(model)
    tensor, said = tensor_of(model, onnxray.Series(planted(1)[0][0]))
    assert tensor.shape == ((1, FEATURES, TIMES) if name == "tcn" else (1, TIMES, FEATURES))
    assert said.startswith("NCT: " if name == "tcn" else "NTF: ")


def bare(shape: list) -> onnx.ModelProto:
    """A model whose structure does not say what its axes are."""
    graph = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("ReduceSum", ["a", "axes"], ["y"], keepdims=0)],
        "bare",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.int64([1, 2]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_axes_are_told_by_sizes_or_asked_for() -> None:
    x = np.ones((30, 3))
    assert tensor_of(onnxray.load(bare(["T", 3])), onnxray.Series(x))[0].shape == (1, 30, 3)
    assert tensor_of(onnxray.load(bare([3, 30])), onnxray.Series(x))[0].shape == (1, 3, 30)
    with pytest.raises(ShapeError, match="say axes='NTF' or axes='NFT'"):
        tensor_of(onnxray.load(bare(["a", "b"])), onnxray.Series(x))
    said = onnxray.load(bare(["a", "b"]), axes="NFT", kind="series")
    assert tensor_of(said, onnxray.Series(x))[0].shape == (1, 3, 30)


def test_bad_series_are_refused() -> None:
    with pytest.raises(ShapeError, match="a series holds numbers"):
        onnxray.Series([["a", "b"]])
    with pytest.raises(ShapeError, match="2 features and 1 names"):
        onnxray.Series([[1, 2]], ["a"])
    with pytest.raises(ShapeError, match="1 times and 2 names"):
        onnxray.Series([[1, 2]], times=[0, 1])
    with pytest.raises(ShapeError, match=r"give \(times, features\)"):
        onnxray.Series(np.zeros((2, 2, 2)))
    model = onnxray.load(network("lstm"))
    with pytest.raises(ShapeError, match="70 times and the input .* takes 60: choose 60 of them"):
        onnxray.explain(model, onnxray.Series(np.zeros((70, FEATURES))))
    with pytest.raises(ShapeError, match="5 features"):
        onnxray.explain(model, onnxray.Series(np.zeros((TIMES, 5))))
    with pytest.raises(ShapeError, match="no one series of three axes"):
        onnxray.explain("builtin", onnxray.Series(np.zeros((TIMES, 5))))


def test_a_single_cell_is_hidden_as_ablation_hides_it() -> None:
    x = planted(1)[0][0]
    model = onnxray.load(network("lstm"), answer="number")
    wanted = onnxray.explain(model, onnxray.Series(x), "ablation")
    found = onnxray.explain(model, onnxray.Series(x), "ablation", segments="grid", grid=[TIMES, FEATURES])
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-6)


@pytest.mark.parametrize("method", ["kernel-shap", "ablation", "lime", "occlusion"])
def test_stretches_between_changes(method: str) -> None:
    x, (start,) = planted(1)
    model = onnxray.load(network("transformer"), answer="number")
    e = onnxray.explain(model, onnxray.Series(x[0]), method, segments="change-points")
    assert e.details["features"] == "3 stretches between shifts of the mean"
    found = np.asarray(e.heatmap)
    assert start <= int(np.argmax(found)) < start + LONG
    np.testing.assert_array_equal(np.flatnonzero(np.diff(found)) + 1, [start, start + LONG])


def test_change_points_against_all_cuts() -> None:
    """One cut: where the sum of squares of both sides is least. Noise alone has none."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((80, 3))
    assert change_points(x, 50).tolist() == [0]
    x[33:] += 2.0

    def rest(at: int) -> float:
        return sum(((part - part.mean(axis=0)) ** 2).sum() for part in (x[:at], x[at:]))

    assert change_points(x, 2).tolist() == [0, min(range(1, 80), key=rest)]
    assert change_points(np.ones((9, 2)), 5).tolist() == [0]
    assert change_points(x, 1).tolist() == [0]
    with pytest.raises(ValueError, match="at least 1"):
        change_points(x, 0)


def test_holes_are_filled_on_a_line() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4, 30)).astype(np.float32)
    hidden = rng.random((5, 4, 30)) < 0.5
    hidden[0, 0] = True
    hidden[1, 1, :4] = True
    found = interpolated(x, 1, hidden)
    for b, row in np.ndindex(5, 4):
        seen = np.flatnonzero(~hidden[b, row])
        wanted = np.interp(np.arange(30), seen, x[row, seen]) if len(seen) else np.full(30, x[row].mean())
        np.testing.assert_allclose(found[b, row], wanted, atol=1e-6)


@pytest.mark.parametrize("fill", ["interpolate", "mean", "zero", "noise"])
@pytest.mark.parametrize("method", ["occlusion", "kernel-shap", "ablation"])
def test_fills_of_series(fill: str, method: str) -> None:
    x, (start,) = planted(1)
    model = onnxray.load(network("tcn"), answer="number")
    options = {"patch": LONG + 2} if method == "occlusion" else {"segments": "grid", "grid": 12}
    e = onnxray.explain(model, onnxray.Series(x[0] + 3), method, fill=fill, **options)
    assert start - 10 <= int(np.argmax(e.heatmap)) <= start + LONG + 5
    if fill == "interpolate":
        with pytest.raises(MethodError, match="for signals and series|depends on what is hidden"):
            onnxray.explain("builtin", onnxray.samples()[0], method, fill=fill)


@pytest.mark.parametrize(("step", "feature"), [(0, 1), (2, 3)])
def test_steps_of_a_forecast(step: int, feature: int) -> None:
    x = planted(1)[0][0]
    target = f"value:{step},{feature}"
    e = onnxray.explain(forecast(), onnxray.Series(x), "input-x-gradient", target=target)
    assert str(e.target) == target
    wanted = np.zeros((TIMES, FEATURES), np.float32)
    wanted[TIMES - 10 - step, feature - 1] = x[TIMES - 10 - step, feature - 1]
    np.testing.assert_allclose(e.values, wanted, atol=1e-6)
    assert e.score == pytest.approx(float(wanted.sum()), abs=1e-6)
