"""Values inside the network, against what the frameworks themselves computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal

import onnxray
from onnxray.engine.errors import ShapeError, UnknownName
from onnxray.engine.inference.session import run
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]


def stored(case: Path, kind: str) -> dict[str, np.ndarray]:
    """The arrays of a case whose key begins with `kind`."""
    with np.load(case / "io.npz") as arrays:
        return {key[len(kind) :]: arrays[key] for key in arrays.files if key.startswith(kind)}


def relative_error(got: Any, wanted: np.ndarray) -> float:
    got = np.asarray(got)
    assert got.shape == wanted.shape
    if wanted.dtype.kind not in "fc":
        return 0.0 if np.array_equal(got, wanted) else np.inf
    if not wanted.size:
        return 0.0
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()
    return float(difference / (np.abs(wanted.astype(np.float64)).max() + 1e-12))


def test_outputs_and_intermediate_values_of_every_framework(zoo_case: Path) -> None:
    """Within the tolerance of the case: its own for outputs, four times that for intermediate values; where the file is
    quantised or half precision and the reference is not, the direction must agree.
    """
    meta = json.loads((zoo_case / "meta.json").read_text(encoding="utf-8"))
    model = onnxray.load(zoo_case / "model.onnx")
    wanted = {**stored(zoo_case, "mid:"), **stored(zoo_case, "out:")}
    assert wanted
    got = onnxray.activations(model, stored(zoo_case, "in:"), list(wanted))
    outputs = {v.name for v in model.outputs}
    for name, reference in wanted.items():
        error = relative_error(got[name], reference)
        if name not in outputs and meta.get("approximate"):
            a, b = (np.asarray(x, np.float64).ravel() for x in (got[name], reference))
            assert a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) > meta["tolerance"].get("grad_cos_min", 0.8)
        else:
            limit = meta["tolerance"]["forward_rel"] * (1 if name in outputs else 4)
            assert error <= limit, f"{name}: {error:.1e} > {limit:.1e}"


def test_the_zoo_is_whole(zoo: Path) -> None:
    index = json.loads((zoo / "frameworks" / "index.json").read_text(encoding="utf-8"))
    assert index["n"] == len(list((zoo / "frameworks").glob("*/meta.json"))) == 109


def test_trained_networks_run(zoo_model: Path) -> None:
    """Every value of the real networks can be looked at, by the name of its layer."""
    model = onnxray.load(zoo_model)
    rng = np.random.default_rng(0)
    x = {}
    for value in model.inputs:
        shape = [d if isinstance(d, int) else 1 if axis == 0 else 16 for axis, d in enumerate(value.shape or ())]
        x[value.name] = (rng.random(shape) * (2 if value.dtype.kind in "iu" else 1)).astype(value.dtype)  # type: ignore[union-attr]
    chosen = model.layers[:: max(len(model.layers) // 12, 1)]
    got = onnxray.activations(model, x, [layer.name for layer in chosen])
    for layer in chosen:
        assert got[layer.name].size > 0
        assert layer.shape is not None
        sizes = [(a, d) for a, d in zip(got[layer.name].shape, layer.shape, strict=True) if isinstance(d, int)]
        assert all(a == d for a, d in sizes)


def test_every_kind_of_name(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    names = ["image", "stem", "stem_relu", "w1", "logits"]
    got = onnxray.activations(cnn, x, names)
    assert list(got) == names
    assert_array_equal(got["image"], x)
    assert_array_equal(got["stem_relu"], np.maximum(got["stem"], 0))
    assert_array_equal(got["w1"], onnxray.load(cnn).constant("w1"))  # type: ignore[arg-type]
    assert apart(got["logits"], run(onnxray.load(cnn), {"image": x})["logits"]) <= ROUNDING
    assert apart(onnxray.activations(cnn, x, "stem")["stem"], got["stem"]) <= ROUNDING
    assert onnxray.activations(cnn, x, []) == {}


def test_names_of_layers_stand_for_their_output(parse: Parse) -> None:
    model = onnxray.load(parse("g (float[N, 3] x) => (float[N, 3] y) { [first] a = Relu (x) [second] y = Neg (a) }"))
    got = onnxray.activations(model, -np.ones((1, 3)), ["first", "second", "y"])
    assert got["first"].max() == 0
    assert_array_equal(got["second"], got["y"])


def test_names_that_do_not_exist(cnn: onnx.ModelProto) -> None:
    x = np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(UnknownName, match="no layer or value named 'stem_rel'; nearest: 'stem_relu'.*onnxray inspect"):
        onnxray.activations(cnn, x, "stem_rel")
    with pytest.raises(UnknownName, match="no model input named 'img'"):
        onnxray.activations(cnn, {"img": x}, "stem")


TWO = "g (float[N, 3] a, float[N, 3] b) => (float[N, 3] y) { s = Relu (a) t = Neg (b) y = Add (s, t) }"


def test_several_inputs(parse: Parse) -> None:
    a, b = np.ones((2, 3), np.float32), np.full((2, 3), 5, np.float32)
    proto = parse(TWO)
    got = onnxray.activations(proto, {"a": a, "b": b}, ["s", "y"])
    assert_array_equal(got["y"], a - b)
    assert_array_equal(onnxray.activations(proto, {"a": a, "b": b}, "t")["t"], -b)  # which needs only one of them
    with pytest.raises(ShapeError, match=r"the model has 2 inputs \(a: float32 \[N, 3\], b: "):
        onnxray.activations(proto, a, "y")
    with pytest.raises(ShapeError, match="also needs the input b"):
        onnxray.activations(proto, {"a": a}, "s")


def test_a_fixed_batch_is_no_limit(parse: Parse) -> None:
    proto = parse("g (float[1, 3] x) => (float[1, 3] y) { h = Relu (x) y = Softmax (h) }")
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    got = onnxray.activations(proto, x, ["h", "y"])
    assert_array_equal(got["h"], np.maximum(x, 0))
    assert got["y"].shape == (5, 3)
