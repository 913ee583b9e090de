"""What holds for every method of the registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.explain import problem_of
from onnxray.engine.methods.options import describe, option
from onnxray.engine.methods.registry import Method, find, help_of, make, methods, options_of, parse
from onnxray.engine.methods.registry import method as register

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(3)
X = RNG.standard_normal((3, 3, 16, 16)).astype(np.float32)
NAMES = sorted(methods())

# Options that keep slow methods quick; and the methods that need another model than the small CNN, with the reason why.
QUICK: dict[str, dict[str, object]] = {
    "integrated-gradients": {"steps": 8},
    "smoothgrad": {"samples": 4},
    "lam": {"steps": 8},
    "ablation": {"segments": "grid", "grid": 3},
    "lime": {"samples": 100, "segments": 12},
    "kernel-shap": {"samples": 100, "segments": 12},
    "rise": {"masks": 200},
    "sobol": {"designs": 4, "grid": 4},
}
OTHER_MODELS: dict[str, str] = {
    "attention-rollout": "needs a transformer",
    "d-rise": "needs a detector",
    "gradient-x-attention": "needs a transformer",
    "tree-shap": "needs a sum of trees, and a background",
}


@pytest.fixture(params=[name for name in NAMES if name not in OTHER_MODELS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def explained(model: object, x: np.ndarray, name: str, target: object = None, **options: object) -> Any:
    return onnxray.explain(model, x, name, target, **{**QUICK.get(name, {}), **options})  # type: ignore[arg-type]


def scaled(proto: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """The model with all its weights and biases multiplied."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in copy.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return copy


def test_shape_and_type(cnn: onnx.ModelProto, name: str) -> None:
    e = explained(cnn, X[:1], name)
    assert e.values.dtype == np.float32
    assert e.values.ndim in (2, 3)
    assert e.values.any()
    assert np.isfinite(e.values).all()
    assert e.heatmap.shape == (16, 16)
    assert e.heatmap.dtype == np.float32
    assert e.overlay().shape == (16, 16, 3)
    assert e.method == name
    assert (e.layer is not None) == find(name).at_layer
    if e.layer is not None:
        assert e.reason
    assert e.score == pytest.approx(float(e.scores.max()))


def test_the_same_input_gives_the_same_bytes(cnn: onnx.ModelProto, name: str) -> None:
    first, second = (explained(cnn, X[:1], name, 2) for _ in range(2))
    assert first.values.tobytes() == second.values.tobytes()


def test_the_model_is_not_changed(cnn: onnx.ModelProto, name: str) -> None:
    model = onnxray.load(cnn)
    before, given = model.proto.SerializeToString(deterministic=True), cnn.SerializeToString(deterministic=True)
    x = X[:1].copy()
    explained(model, x, name)
    assert model.proto.SerializeToString(deterministic=True) == before
    assert cnn.SerializeToString(deterministic=True) == given
    assert np.array_equal(x, X[:1])


def test_a_batch_gives_what_its_samples_give(cnn: onnx.ModelProto, name: str) -> None:
    together = explained(cnn, X, name, "top:2")
    assert len(together) == 6
    for sample in range(3):
        alone = explained(cnn, X[sample : sample + 1], name, "top:2")
        for k in range(2):
            expected, got = alone[k].values, together[2 * sample + k].values
            assert np.allclose(got, expected, rtol=1e-3, atol=2e-5 * np.abs(expected).max())
            assert together[2 * sample + k].target == alone[k].target
    single = explained(cnn, X[1:2], name, together[3].target)
    assert np.allclose(single.values, together[3].values, rtol=1e-3, atol=2e-5 * np.abs(single.values).max())


def test_a_zero_model_gives_a_zero_map_and_says_so(cnn: onnx.ModelProto, name: str) -> None:
    e = explained(scaled(cnn, 0), X[:1], name)
    assert not e.values.any()
    assert any("zero everywhere" in w for w in e.warnings)


def test_a_symmetric_input_and_network_give_a_symmetric_map(parse: Parse, name: str) -> None:
    kernel = RNG.standard_normal((4, 3, 3, 2)).astype(np.float32)
    kernel = np.concatenate([kernel, kernel[..., :1]], axis=3)
    model = parse(
        """
        m (float[N, 3, 9, 9] image) => (float[N, 4] y)
        {
          maps = Conv <pads = [1, 1, 1, 1]> (image, w)
          relu = Relu (maps)
          gap = GlobalAveragePool (relu)
          flat = Flatten (gap)
          y = MatMul (flat, head)
        }
        """,
        w=kernel,
        head=RNG.standard_normal((4, 4)).astype(np.float32),
    )
    half = RNG.standard_normal((1, 3, 9, 5)).astype(np.float32)
    x = np.concatenate([half, half[..., 3::-1]], axis=3)
    taken = {o.name for o in options_of(find(name))}
    if "seed" in taken and taken & {"noise", "samples", "designs", "masks"}:
        pytest.skip("what is drawn at random is not symmetric")
    values = explained(model, x, name).values
    assert np.allclose(values, values[..., ::-1], atol=1e-4 * np.abs(values).max())


def test_gradient_methods_know_the_weights_of_a_linear_model(parse: Parse, name: str) -> None:
    """score = sum(w * x) + b: whatever explains at the input must find w."""
    if find(name).at_layer or find(name).needs != "gradient":
        pytest.skip("explains at a layer, or without gradient")
    w = RNG.standard_normal((3 * 8 * 8, 4)).astype(np.float32)
    model = parse(
        "m (float[N, 3, 8, 8] image) => (float[N, 4] y) { f = Flatten (image) y = Gemm (f, w, b) }",
        w=w,
        b=RNG.standard_normal(4).astype(np.float32),
    )
    x = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    weights = w[:, 2].reshape(3, 8, 8)
    expected = {
        "input-x-gradient": weights * x[0],
        "integrated-gradients": weights * x[0],
        "lrp": weights * x[0],
        "lam": weights * (x[0] - np.stack([cv2.GaussianBlur(plane, (9, 9), 1.2) for plane in x[0]])),
        "smoothgrad-squared": weights**2,
        "vargrad": np.zeros_like(weights),
    }.get(name, weights)
    values = explained(model, x, name, 2).values
    assert np.allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_every_method_has_its_own_test_file() -> None:
    here = Path(__file__).parent
    for name, cls in methods().items():
        module = cls.__module__.rpartition(".")[2]
        assert (here / f"test_{module}.py").is_file(), f"{name} has no test_{module}.py"


def test_every_method_is_described(name: str) -> None:
    cls = find(name)
    assert cls.name == name
    assert name == name.lower()
    assert help_of(cls).endswith((".", ":")) or ". " in help_of(cls) or len(help_of(cls)) > 20
    assert len(help_of(cls)) <= 140
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    for o in options_of(cls):
        assert o.help.endswith(".")
        assert describe(o)
    made = make(name)
    assert make(name, made.options()) == made
    assert made.options() == {o.name: o.default for o in options_of(cls)}


def test_the_registry_refuses_what_would_confuse() -> None:
    with pytest.raises(ValueError, match="two methods are called 'gradient'"):

        @register("gradient")
        @dataclasses.dataclass(frozen=True)
        class Twice(Method):
            """Again."""

    with pytest.raises(TypeError, match="would hide fields of the model card"):

        @register("not-there")
        @dataclasses.dataclass(frozen=True)
        class Hides(Method):
            """Hides."""

            size: int = option(1, "Size.")

    with pytest.raises(TypeError, match="docstring"):

        @register("not-there")
        class Bare(Method):
            pass

    assert "not-there" not in methods()
    assert onnxray.methods() == methods()


def test_options_from_texts() -> None:
    parsed = parse("integrated-gradients", {"steps": "12", "baseline": "Blur", "tolerance": "none", "max-steps": "30"})
    assert parsed == {"steps": 12, "baseline": "blur", "tolerance": None, "max_steps": 30}
    assert make("integrated-gradients", parse("integrated-gradients", {"baseline": "0.5"})).options()["baseline"] == 0.5
    assert parse("smoothgrad", {"noise": "1e-1"}) == {"noise": 0.1}
    with pytest.raises(onnxray.OnnxrayError, match="nearest: 'steps'"):
        parse("integrated-gradients", {"step": "1"})
    with pytest.raises(onnxray.OnnxrayError, match="an integer from 1|an integer of at least 1"):
        make("integrated-gradients", parse("integrated-gradients", {"steps": "x"}))


def test_problem_rows_are_what_methods_get(cnn: onnx.ModelProto, name: str) -> None:
    problem = problem_of(cnn, X[:2], "top:2")
    maps = make(name, QUICK.get(name, {}))(problem)  # type: ignore[arg-type]
    assert len(maps.values) == 4
    assert maps.values.dtype == np.float32
    for rows in (maps.warnings, maps.details):
        assert len(rows) in (0, 4)
