"""`explain`: what it takes, what it decides, what it warns of and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray import models
from onnxray.engine.errors import (
    CardError,
    GradientError,
    MethodError,
    ModelError,
    NoGradient,
    OnnxrayError,
    OutOfMemory,
    ShapeError,
    TargetError,
    UnknownName,
)
from onnxray.engine.inference.session import Session
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)
CARD = {"size": 16, "mean": [120, 110, 100], "std": 60, "resize": "stretch"}


def test_a_file_an_image_and_its_tensor_are_explained_alike(cnn: onnx.ModelProto, tmp_path: Path) -> None:
    image = RNG.integers(0, 256, (30, 50, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    model = onnxray.load(cnn, **CARD)
    by_file = onnxray.explain(model, tmp_path / "a.png")
    by_array = onnxray.explain(cnn, image, **CARD)
    by_tensor = onnxray.explain(model, prepare(image, find_card(model)).tensor)
    assert np.array_equal(by_file.values, by_array.values)
    assert np.array_equal(by_file.values, by_tensor.values)
    assert by_file.heatmap.shape == by_array.heatmap.shape == (30, 50)
    assert by_tensor.heatmap.shape == (16, 16)
    assert by_file.source == str(tmp_path / "a.png")
    assert np.array_equal(by_array.image, image)
    assert by_tensor.image.shape == (16, 16, 3)


def test_a_sample_needs_no_batch_axis(cnn: onnx.ModelProto) -> None:
    assert np.array_equal(onnxray.explain(cnn, X[0]).values, onnxray.explain(cnn, X).values)
    assert np.array_equal(onnxray.explain(cnn, {"image": X}).values, onnxray.explain(cnn, X).values)
    assert np.array_equal(onnxray.explain(cnn, X.astype(np.float64)).values, onnxray.explain(cnn, X).values)


def test_a_gray_image_is_one_too(cnn: onnx.ModelProto) -> None:
    gray = RNG.integers(0, 256, (30, 50), np.uint8)
    repeated = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(onnxray.explain(cnn, gray, **CARD).values, onnxray.explain(cnn, repeated, **CARD).values)


def test_a_guessed_card_is_a_warning(cnn: onnx.ModelProto) -> None:
    image = RNG.integers(0, 256, (30, 50, 3), np.uint8)
    guessed = onnxray.explain(cnn, image)
    assert any(w.startswith("preprocessing: ") for w in guessed.warnings)
    assert not any("preprocessing" in w for w in onnxray.explain(cnn, X).warnings)


def test_the_map_is_on_the_part_of_the_image_that_matters(parse: Parse) -> None:
    """A network that only looks at the top right quarter of its input."""
    mask = np.zeros((1, 1, 8, 8), np.float32)
    mask[..., :4, 4:] = 1
    model = parse(
        """
        m (float[N, 3, 8, 8] image) => (float[N, 2] y)
        {
          seen = Mul (image, mask)
          maps = Conv <pads = [1, 1, 1, 1]> (seen, w)
          relu = Relu (maps)
          gap = GlobalAveragePool (relu)
          flat = Flatten (gap)
          y = MatMul (flat, head)
        }
        """,
        mask=mask,
        w=np.abs(RNG.standard_normal((4, 3, 3, 3))).astype(np.float32),
        head=np.abs(RNG.standard_normal((4, 2))).astype(np.float32),
    )
    image = np.full((80, 160, 3), 200, np.uint8)
    for method in ("gradient", "grad-cam", "integrated-gradients", "guided-backprop", "recipro-cam"):
        e = onnxray.explain(model, image, method, 0, size=8, mean=0, std=255, resize="stretch")
        inside = np.abs(e.heatmap[:48, 64:]).sum()
        assert inside > 0.88 * np.abs(e.heatmap).sum(), method
        assert np.abs(e.heatmap[:40, 80:]).mean() > 4 * np.abs(e.heatmap[48:, :64]).mean()


def test_several_inputs_are_given_by_name(parse: Parse) -> None:
    model = parse("m (float[N, 3, 8, 8] image, float[N, 1] meta) => (float[N, 2] y) "
                  "{ g = GlobalAveragePool (image) f = Flatten (g) c = Concat <axis = 1> (f, meta) y = MatMul (c, w) }",
                  w=RNG.standard_normal((4, 2)).astype(np.float32))  # fmt: skip
    x = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    e = onnxray.explain(model, {"image": x, "meta": np.ones((2, 1), np.float32)}, "gradient", 1)
    w = onnx.numpy_helper.to_array(model.graph.initializer[0])
    assert np.allclose(e.values, np.broadcast_to(w[:3, 1][:, None, None] / 64, (2, 3, 8, 8)))
    with pytest.raises(ShapeError, match="give a dict of name to array"):
        onnxray.explain(model, x)
    with pytest.raises(ShapeError, match=r"also needs .*meta"):
        onnxray.explain(model, RNG.integers(0, 255, (9, 9, 3), np.uint8))
    with pytest.raises(UnknownName, match="metadata"):
        onnxray.explain(model, {"image": x, "metadata": x})
    with pytest.raises(ShapeError, match="not among those given"):
        onnxray.explain(model, {"meta": np.ones((2, 1), np.float32)})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "gradcan"}, UnknownName, r"no method named 'gradcan'; nearest: 'grad-cam'"),
        ({"stepps": 3}, UnknownName, r"no option of grad-cam named 'stepps'"),
        ({"method": "integrated-gradients", "stepps": 3}, UnknownName, "nearest: 'steps'"),
        ({"method": "integrated-gradients", "steps": 0}, MethodError, "an integer from 1"),
        ({"method": "integrated-gradients", "steps": "many"}, MethodError, "an integer"),
        ({"method": "integrated-gradients", "steps": 2.5}, MethodError, "an integer"),
        ({"method": "integrated-gradients", "steps": True}, MethodError, "an integer"),
        ({"method": "integrated-gradients", "rule": "gaus-legendre"}, MethodError, r"nearest: 'gauss-legendre'"),
        ({"method": "integrated-gradients", "baseline": np.ones((2, 2))}, MethodError, r"does not fit samples"),
        ({"method": "integrated-gradients", "baseline": "black"}, MethodError, r"needs an image and a model card"),
        ({"method": "smoothgrad", "noise": float("nan")}, MethodError, "a number"),
        ({"target": 5}, TargetError, "the model has classes 0 to 4"),
        ({"target": "cat"}, TargetError, "no labels"),
        ({"layer": "featurs"}, UnknownName, "nearest: 'features'"),
        ({"layer": "logits"}, MethodError, "is not a map of the image"),
        ({"layer": "flat"}, MethodError, "is not a map of the image"),
        ({"method": "gradient", "layer": "features"}, MethodError, "takes no layer"),
        ({"providers": "quantum"}, UnknownName, "execution provider"),
        ({"size": "big"}, CardError, "size"),
        ({"batch": 0}, ShapeError, "a batch of 0"),
    ],
)
def test_wrong_arguments_get_one_clear_line(
    cnn: onnx.ModelProto, arguments: dict[str, object], error: type[OnnxrayError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        onnxray.explain(cnn, X, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "x",
    [
        X[:, :2],
        X[0, 0],
        X[None],
        np.zeros((1, 3, 16), np.float32),
        np.zeros((1, 3, 16, 16), complex),
        np.array([["a"]]),
        np.zeros((0, 3, 16, 16), np.float32),
        RNG.integers(0, 9, (5, 5, 2), np.uint8),
        "/nowhere/a.png",
    ],
)
def test_wrong_inputs_raise_nothing_else(cnn: onnx.ModelProto, x: object) -> None:
    for method in ("grad-cam", "gradient", "recipro-cam"):
        with pytest.raises(OnnxrayError):
            onnxray.explain(cnn, x, method)


def test_no_gradient_says_so_and_does_not_switch(parse: Parse) -> None:
    rounded = parse(
        "m (float[N, 3, 8, 8] image) => (float[N, 2] y) { h = NonZero (image) g = Cast <to = 1> (h) "
        "r = ReduceSum <keepdims = 1> (g) f = Flatten (r) y = MatMul (f, w) }",
        w=np.ones((1, 2), np.float32),
    )
    with pytest.raises(GradientError, match="gradient-free"):
        onnxray.explain(rounded, np.ones((1, 3, 8, 8), np.float32), "gradient")


def test_what_is_quantised_is_straight_through_or_refused(zoo: Path) -> None:
    with np.load(zoo / "frameworks/q_qdq_t_resnet_basic_op17/io.npz") as arrays:
        x = arrays["in:pixel_values"]
    e = onnxray.explain(zoo / "frameworks/q_qdq_t_resnet_basic_op17/model.onnx", x)
    assert any("straight through" in w for w in e.warnings)
    model = zoo / "models/mobilenet_v2_int8_qlinear.onnx"
    tensor = RNG.standard_normal((1, 3, 224, 224)).astype(np.float32)
    with pytest.raises(NoGradient, match=r"gradient-free method \(occlusion, rise, score-cam\)"):
        onnxray.explain(model, tensor, "gradient")
    e = onnxray.explain(model, tensor, "eigen-cam")
    assert e.values.shape == (7, 7)
    assert "quantised map" in str(e.reason)


def test_a_tiny_score_and_a_saturated_probability_are_warned_of(parse: Parse) -> None:
    w = np.zeros((4, 3), np.float32)
    w[:, 0], w[:, 1] = 10, 1e-6
    logits = parse("m (float[N, 4] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=w)
    x = np.ones((1, 4), np.float32)
    assert any("score is tiny" in t for t in onnxray.explain(logits, x, "gradient", 1).warnings)
    assert onnxray.explain(logits, x, "gradient", 0).warnings == ()
    soft = parse("m (float[N, 4] x) => (float[N, 3] y) { z = MatMul (x, w) y = Softmax (z) }", w=w)
    assert any("explain logit:predicted" in t for t in onnxray.explain(soft, x, "gradient").warnings)
    assert onnxray.explain(soft, x, "gradient", "logit:predicted").warnings == ()


def test_an_overflow_is_a_warning_not_an_error(parse: Parse) -> None:
    model = parse("m (float[N, 4] x) => (float[N, 4] y) { y = Exp (x) }")
    e = onnxray.explain(model, np.array([[1e3, 1, 1, 1]], np.float32), "gradient", 0)
    assert any("NaN or infinite" in w for w in e.warnings)
    assert any("not a finite number" in w for w in e.warnings)


def test_a_model_without_input_or_output_for_it(parse: Parse) -> None:
    dense = parse("m (float[N, 3, 8, 8] image) => (float[N, 3, 8, 8] y) { y = Relu (image) }")
    x = np.ones((1, 3, 8, 8), np.float32)
    e = onnxray.explain(dense, x, "gradient")
    assert (e.asked, str(e.target)) == ("predicted", "region:0")
    assert "is a map" in e.details["target"]
    with pytest.raises(TargetError, match="region:CLASS"):
        onnxray.explain(dense, x, "gradient", "prob:1")
    e = onnxray.explain(dense, x, "gradient", "region:1:2,2,4,4")
    assert np.argwhere(e.values).tolist() == [[1, y, x] for y in (2, 3) for x in (2, 3)]
    with pytest.raises(ModelError):
        onnxray.explain("/nowhere.onnx", x)


def test_methods_share_their_work(cnn: onnx.ModelProto) -> None:
    from onnxray.engine.explain import problem_of, solve
    from onnxray.engine.methods.registry import make

    problem = problem_of(cnn, X, "top:2")
    for name in ("gradient", "grad-cam", "layer-cam", "recipro-cam", "input-x-gradient"):
        shared, alone = solve(problem, make(name)), onnxray.explain(cnn, X, name, "top:2")
        assert apart(shared.values, alone.values) <= ROUNDING


def test_how_often_the_whole_graph_is_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file is read, strictly before it is differentiated, to find contradictions, and for the types of its
    gradient; what is derived of it needs no types."""
    inferred = []
    true = onnx.shape_inference.infer_shapes

    def counted(*args: Any, **kwargs: Any) -> onnx.ModelProto:
        inferred.append(args[0])
        return true(*args, **kwargs)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    proto = onnx.load(models.path(models.BUILTIN))
    proto.metadata_props.add(key="made", value="for this test, so that nothing is kept of it")
    image = np.random.default_rng(3).integers(0, 256, (97, 113, 3), np.uint8)
    assert onnxray.explain(proto, image, "grad-cam").values.any()
    assert len(inferred) == 3


@pytest.mark.parametrize(
    ("method", "options"),
    [("occlusion", {"patch": 4, "mode": "plain"}), ("smoothgrad", {}), ("rise", {"masks": 64})],
)
def test_fewer_inputs_at_once_for_lack_of_memory_are_a_warning(
    cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, method: str, options: dict[str, Any]
) -> None:
    """Of every explanation that it is true of, those for which the runner of an earlier one was kept as well."""
    running = {"providers": "cpu", "batch": 8, **options}
    expected = onnxray.explain(cnn, X, method, 1, **running)
    assert not [text for text in expected.warnings if text.startswith("memory")]
    run = Session.run

    def small(self: Session, feeds: Any, outputs: Any = None) -> Any:
        if len(feeds["image"]) > 2:
            raise OutOfMemory("Failed to allocate memory")
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", small)
    for _ in range(2):
        found = onnxray.explain(cnn, X, method, 1, **running)
        assert apart(found.values, expected.values) <= ROUNDING
        (said,) = [text for text in found.warnings if text.startswith("memory")]
        assert "8 inputs at once do not fit on CPU, 2 run at once" in said
    once = onnxray.explain(cnn, X, "gradient", 1, providers="cpu", batch=8)
    assert not [text for text in once.warnings if text.startswith("memory")]
