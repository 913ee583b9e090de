"""Targets that depend on the answer, chosen inside a compiled model: as `explain` chooses them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.compile import OUTPUT
from onnxray.engine.errors import TargetError
from onnxray.engine.inference.session import run

Parse = Callable[..., onnx.ModelProto]
rng = np.random.default_rng(3)
W1 = rng.standard_normal((6, 3, 3, 3)).astype(np.float32)
W2 = rng.standard_normal((4, 6, 1, 1)).astype(np.float32)
ONE = rng.standard_normal((1, 6, 1, 1)).astype(np.float32)
X = rng.standard_normal((3, 3, 12, 10)).astype(np.float32)
BODY = "c = Conv <pads = [1, 1, 1, 1]> (x, w1) r = Relu (c)"


def network(parse: Parse, kind: str) -> onnxray.Model:
    size = "H, W" if kind == "open" else "12, 10"
    head, out, constants = "y = Conv (r, w2)", f"float[N, 4, {size}] y", {"w1": W1, "w2": W2}
    if kind == "one channel":
        head, out, constants = "y = Conv (r, w2)", f"float[N, 1, {size}] y", {"w1": W1, "w2": ONE}
    if kind == "channels last":
        head, out = "z = Conv (r, w2) y = Transpose <perm = [0, 2, 3, 1]> (z)", f"float[N, {size}, 4] y"
    if kind == "no channel":
        head, out = "z = Conv (r, w2) y = Squeeze (z, ax)", f"float[N, {size}] y"
        constants = {"w1": W1, "w2": ONE, "ax": np.array([1], np.int64)}
    text = f"m (float[N, 3, {size}] x) => ({out}) {{ {BODY} {head} }}"
    return onnxray.load(parse(text, **constants), labels=["ground", "road", "car", "sky"])


TARGETS = {
    "channels": [
        *("region:0", "region:3", "region:car", "region", "region:predicted", "region:1:boundary"),
        *("region:2:2,2,8,8", "region:car:2,2,8,8", "region:predicted:1,1,6,6"),
        *("unit:r:strongest", "unit:r:2,strongest", "unit:r:strongest,strongest"),
        *("element:y:max,max,max", "element:y:1,max,mean", "element:y:-1,mean,max", "element:r:max,mean,mean"),
        *("mean:y", "mean:y:2,2,8,8"),
    ],
    "open": [
        *("region:0", "region:predicted", "region:3:boundary"),
        *("unit:r:strongest,strongest", "unit:r:1", "unit:r:1,2,3", "element:y:max,2,max", "element:y:1,2,3", "mean:y"),
    ],
    "one channel": ["region", "region:0", "region:0:boundary", "region:0:2,2,8,8"],
    "channels last": ["region:0", "region:predicted", "region:1:boundary", "region:2:2,2,8,8"],
    "no channel": ["region", "region:0:boundary", "region:0:2,2,8,8"],
}


@pytest.mark.parametrize(("kind", "target"), [(k, t) for k, targets in TARGETS.items() for t in targets])
def test_maps_are_those_of_explain(parse: Parse, kind: str, target: str) -> None:
    model = network(parse, kind)
    found = run(onnxray.compile(model, "gradient", target=target), {"x": X})[OUTPUT]
    due = onnxray.explain(model, X, "gradient", target).values
    assert np.abs(due).max() > 0
    np.testing.assert_allclose(found, due, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("target", ["region:0", "region:predicted", "unit:r:strongest,strongest"])
def test_by_class_activation_maps(parse: Parse, target: str) -> None:
    model = network(parse, "channels")
    found = run(onnxray.compile(model, "grad-cam", "c", target, upsample="none"), {"x": X})[OUTPUT]
    np.testing.assert_allclose(found[:, 0], onnxray.explain(model, X, "grad-cam", target, "c").values, atol=1e-6)


def test_a_class_that_wins_nowhere_has_a_map_of_zeros(parse: Parse) -> None:
    compiled = onnxray.compile(network(parse, "channels"), "gradient", target="region:1")
    assert not run(compiled, {"x": np.zeros_like(X)})[OUTPUT].any()


def test_components_are_refused(parse: Parse) -> None:
    with pytest.raises(TargetError, match="is a connected component, which no fixed number of operators finds"):
        onnxray.compile(network(parse, "channels"), "gradient", target="region:1:instance:1")


def test_a_box_on_a_map_of_open_size_is_refused(parse: Parse) -> None:
    with pytest.raises(TargetError, match="needs a fixed size of 'y'"):
        onnxray.compile(network(parse, "open"), "gradient", target="region:1:1,1,4,4")
