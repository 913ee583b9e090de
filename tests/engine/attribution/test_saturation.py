"""Saturated probabilities are warned of for every kind of target, with a target that has a slope."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(12)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)

CONV = "c = Conv <pads = [1, 1, 1, 1]> (image, w)  z = Mul (c, many)  "
NETWORKS = {
    "classes": (
        "float[N, 4] y",
        "c = Conv <pads = [1, 1, 1, 1]> (image, w)  g = GlobalAveragePool (c)  f = Flatten (g)  z = Mul (f, many)  y = Softmax <axis = 1> (z)",
    ),
    "logits": (
        "float[N, 4] y",
        "c = Conv <pads = [1, 1, 1, 1]> (image, w)  g = GlobalAveragePool (c)  f = Flatten (g)  y = Mul (f, many)",
    ),
    "map": ("float[N, 4, 8, 8] y", CONV + "y = Softmax <axis = 1> (z)"),
    "peaks": ("float[N, 4, 8, 8] y", CONV + "y = Sigmoid (z)"),
}
CASES: list[tuple[str, Any]] = [
    ("classes", 1),
    ("classes", None),
    ("classes", "contrast:0,1"),
    ("classes", "top:2"),
    ("logits", "prob:1"),
    ("classes", "element:y:2"),
    ("classes", "value:y:2"),
    ("map", "element:y:1,2,3"),
    ("map", "region:1"),
    ("map", "region:1:0,0,4,4"),
    ("map", "region:1:boundary"),
    ("map", "mean:y:0,0,4,4"),
    ("map", "mean:|gradient|:y"),
    ("map", "unit:y:2"),
    ("peaks", "point:2"),
    ("peaks", "element:y:max,max,max"),
    ("peaks", Target.cotangent("y", np.ones((4, 8, 8)))),
]


def network(parse: Parse, name: str, many: float) -> onnxray.Model:
    out, nodes = NETWORKS[name]
    w = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return onnxray.load(parse(f"m (float[N, 3, 8, 8] image) => ({out}) {{ {nodes} }}", w=w, many=np.float32(many)))


@pytest.mark.parametrize(("name", "target"), CASES, ids=str)
def test_it_is_said_and_the_advice_has_a_slope(parse: Parse, name: str, target: Any) -> None:
    model = network(parse, name, 4000)
    for e in onnxray.explain(model, X, "gradient", target):
        (text,) = [w for w in e.warnings if "gradient vanishes" in w]
        advised = re.search(r"explain (logit:\S+)", text)
        assert advised is not None
        due = advised[1] if not isinstance(target, Target) else Target.logit(target)
        for other in onnxray.explain(model, X, "gradient", due):
            assert other.values.any()
            assert not any("gradient vanishes" in w for w in other.warnings)
    quiet = onnxray.explain(model, X, "occlusion", target, patch=8)
    assert not any("gradient vanishes" in w for part in quiet for w in part.warnings)


@pytest.mark.parametrize(("name", "target"), CASES, ids=str)
def test_it_is_not_said_of_probabilities_with_a_slope(parse: Parse, name: str, target: Any) -> None:
    for e in onnxray.explain(network(parse, name, 0.2), X, "gradient", target):
        assert not any("gradient vanishes" in w for w in e.warnings)


def test_a_difference_near_0_of_probabilities_that_have_a_slope(parse: Parse) -> None:
    """Two classes of 25 % each: the contrast is 0, and nothing is saturated."""
    e = onnxray.explain(network(parse, "classes", 0.0), X, "gradient", "contrast:0,1")
    assert e.score == 0
    assert not any("gradient vanishes" in w for w in e.warnings)
