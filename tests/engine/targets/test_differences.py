"""Every kind of target against central differences, the choices made on the clean input; its text reads back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.explain import problem_of
from onnxray.engine.targets import registry

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(7)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)

HEAD = "c = Conv <pads = [1, 1, 1, 1]> (image, w)  t = Tanh (c)  "
POOLED = "g = GlobalAveragePool (t)  f = Flatten (g)  "
# The networks: their output, and what makes it of six maps `t`.
NETWORKS = {
    "classes": ("float[N, 6] y", POOLED + "y = Mul (f, ten)"),
    "probabilities": ("float[N, 6] y", POOLED + "z = Mul (f, ten)  y = Softmax <axis = 1> (z)"),
    "number": ("float[N] y", POOLED + "y = ReduceSum <keepdims = 0> (f, one)"),
    "map": ("float[N, 6, 8, 8] y", "y = Mul (t, ten)"),
    "map of probabilities": ("float[N, 6, 8, 8] y", "z = Mul (t, ten)  y = Softmax <axis = 1> (z)"),
    "map without channels": (
        "float[N, 8, 8] y",
        "s = ReduceMean <keepdims = 0, axes = [1]> (t)  z = Mul (s, ten)  y = Sigmoid (z)",
    ),
    "map without samples": ("float[6, 8, 8] y", "s = Mul (t, ten)  y = Squeeze (s, zero)"),
    "other strides": ("float[N, 6, 4, 4] y", "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (t)"),
    # A line of text, read step by step.
    "characters": (
        "float[N, 8, 6] y",
        "s = ReduceMean <keepdims = 0, axes = [2]> (t)  z = Transpose <perm = [0, 2, 1]> (s)  y = Mul (z, ten)",
    ),
}
REFERENCE = RNG.standard_normal(6).astype(np.float32)
# Kind -> a network and a target of it, several where the kind has several ways.
EXAMPLES: dict[str, list[tuple[str, Any]]] = {
    "Class": [("classes", 2), ("probabilities", "2")],
    "Predicted": [("classes", None), ("classes", "rank:3"), ("number", None), ("map", None)],
    "Several": [("classes", "top:2"), ("classes", "classes:1,4")],
    "Contrast": [("classes", "contrast:1,4"), ("probabilities", "contrast:rank:1,rank:2")],
    "Scale": [("classes", "prob:1"), ("probabilities", "logit:1")],
    "Logit": [
        ("probabilities", "logit:element:y:3"),
        ("map of probabilities", "logit:region:2"),
        ("map without channels", "logit:mean:y:0,0,4,4"),
        ("probabilities", "logit:value:y:2"),
    ],
    "Element": [("classes", "element:y:3"), ("map", "element:t:max,2,mean"), ("number", "element:y")],
    "Unit": [("map", "unit:t:3"), ("map", "unit:t:strongest,strongest"), ("classes", "unit:t:2,3,4")],
    "Mean": [("map", "mean:t"), ("map without channels", "mean:y:2,2,6,7"), ("map without samples", "mean:y:2,2,6,7")],
    "MeanGradient": [("map", "mean:|gradient|"), ("map without samples", "mean:|gradient|:y:1,2,5,6")],
    "Value": [("number", "value"), ("classes", "value:y:3")],
    "Region": [
        ("map", "region:2"),
        ("map", "region:2:1,1,6,7"),
        ("map", "region:2:instance:1"),
        ("map", "region:2:boundary"),
        ("map", "region"),
        ("map without channels", "region"),
        ("map without channels", "region:boundary"),
        ("map without samples", "region:2"),
        ("map without samples", "region:2:instance:1"),
        ("other strides", "region:2:1,1,6,7"),
        ("other strides", "region:predicted:boundary"),
    ],
    "Like": [("classes", Target.like(REFERENCE)), ("classes", Target.unlike(REFERENCE, REFERENCE[::-1].copy()))],
    "Cotangent": [("map", Target.cotangent("t", RNG.standard_normal((6, 8, 8))))],
    "Each": [("classes", "each:1"), ("map", "each:region:2")],
    "Char": [("characters", "char:1"), ("characters", "char:all")],
    "Point": [("map", "point:2"), ("other strides", "point:0"), ("map without samples", "point:5")],
}


def network(parse: Parse, name: str) -> onnxray.Model:
    out, end = NETWORKS[name]
    batch = "1" if "without samples" in name else "N"
    proto = parse(
        f"m (float[{batch}, 3, 8, 8] image) => ({out}) {{ {HEAD}{end} }}",
        w=(np.random.default_rng(1).standard_normal((6, 3, 3, 3)) * 0.4).astype(np.float32),
        ten=np.float32(3),
        one=np.array([1]),
        zero=np.array([0]),
    )
    return onnxray.load(proto)


def test_every_kind_has_an_example() -> None:
    of_detectors = {"Box", "Boxes"}  # kinds/test_box.py
    of_texts = {"AtWord", "AnswerEdge", "SaidToken"}  # kinds/test_at_word.py, test_token.py
    assert set(EXAMPLES) | of_detectors | of_texts == set(registry.kinds())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(*pair, id=f"{kind}-{pair[0]}-{number}")
        for kind, pairs in EXAMPLES.items()
        for number, pair in enumerate(pairs)
    ],
)
def test_the_slope_is_that_of_central_differences(parse: Parse, name: str, target: Any) -> None:
    model, given = network(parse, name), target
    problem = problem_of(model, X, given)
    step, rows = 4e-3, np.arange(problem.rows)
    gradients = problem.gradients.by(["image"])["image"].reshape(problem.rows, -1).astype(np.float64)
    for chosen in problem.targets:
        if "array" not in str(chosen):
            assert Target.parse(str(chosen)) == chosen
    for seed in range(4):
        d = np.random.default_rng(seed).standard_normal(X.shape).astype(np.float32)
        up, down = (problem.runs.scores_at(problem.x + sign * step * d, rows) for sign in (1, -1))
        due = (up - down) / (2 * step)
        found = gradients @ d.ravel().astype(np.float64)
        np.testing.assert_allclose(found, due, rtol=5e-3, atol=2e-3 * np.abs(gradients).sum(axis=1).max())


@pytest.mark.parametrize("text", ["region:1:0,0,4,4", "region:1:0,0,8,8", "mean:y:0,0,4,4"])
def test_a_region_is_exactly_the_mean_of_its_elements(parse: Parse, text: str) -> None:
    """Whole numbers and a power of two of cells: floating point has nothing to round."""
    w = np.random.default_rng(2).integers(-3, 4, (2, 3, 3, 3)).astype(np.float32)
    model = onnxray.load(
        parse(
            "m (float[N, 3, 8, 8] image) => (float[N, 2, 8, 8] y) { y = Conv <pads = [1, 1, 1, 1]> (image, w) }",
            w=w,
        )
    )
    x = np.random.default_rng(3).integers(-4, 5, (1, 3, 8, 8)).astype(np.float32)
    side = 8 if text.endswith("8,8") else 4
    channels = (0, 1) if text.startswith("mean") else (1,)
    places = [(c, r, s) for c in channels for r in range(side) for s in range(side)]
    parts = [onnxray.explain(model, x, "gradient", f"element:y:{c},{r},{s}") for c, r, s in places]
    e = onnxray.explain(model, x, "gradient", text)
    np.testing.assert_array_equal(e.values, np.sum([p.values for p in parts], axis=0) / len(places))
    assert e.score == sum(p.score for p in parts) / len(places)


def test_masks_and_files(parse: Parse, tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:8] = 1
    np.save(tmp_path / "mask.npy", mask)
    model = network(parse, "map")
    e = onnxray.explain(model, X, "gradient", f"region:2:{tmp_path / 'mask.npy'}")
    assert Target.parse(str(e.target)) == e.target
    same = onnxray.explain(model, X, "gradient", "region:2:2,3,5,8")
    np.testing.assert_array_equal(e.values, same.values)
