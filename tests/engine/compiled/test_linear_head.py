"""The last linear layer: where gradients may begin at what it reads, and that they are the same there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxray
from onnxray.engine.compile import OUTPUT
from onnxray.engine.compiled.linear_head import find_head
from onnxray.tests.rounding import HALF, ROUNDING

RNG = np.random.default_rng(0)
FEATURES = """
  a = Conv <kernel_shape = [3, 3]> (image, w)
  b = Relu (a)
  p = GlobalAveragePool (b)
"""


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


# Name -> (nodes behind the pooling, initializers, shape of y, the value that the head reads or None)
HEADS: dict[str, tuple[str, dict[str, np.ndarray], str, str | None]] = {
    "gemm": ("f = Flatten (p) y = Gemm (f, m, c)", {"m": array(6, 5), "c": array(5)}, "N, 5", "f"),
    "transposed": ("f = Flatten (p) y = Gemm <transB = 1> (f, m)", {"m": array(5, 6)}, "N, 5", "f"),
    "beta": ("f = Flatten (p) y = Gemm <beta = 3.0> (f, m, c)", {"m": array(6, 5), "c": array(1, 5)}, "N, 5", "f"),
    "alpha": ("f = Flatten (p) y = Gemm <alpha = 3.0> (f, m)", {"m": array(6, 5)}, "N, 5", None),
    "matmul": ("f = Flatten (p) z = MatMul (f, m) y = Add (c, z)", {"m": array(6, 5), "c": array(5)}, "N, 5", "f"),
    "conv": ("z = Conv (p, m, c) y = Flatten (z)", {"m": array(5, 6, 1, 1), "c": array(5)}, "N, 5", "p"),
    "conv without places": ("y = Conv (p, m)", {"m": array(5, 6, 1, 1)}, "N, 5, 1, 1", "p"),
    "conv with a border": (
        "z = Conv <pads = [1, 1, 1, 1]> (p, m) t = Slice (z, first, last, axes) y = Flatten (t)",
        {"m": array(5, 6, 1, 1), "first": np.array([1, 1]), "last": np.array([2, 2]), "axes": np.array([2, 3])},
        "N, 5",
        None,
    ),
    "grouped conv": ("z = Conv <group = 2> (p, m) y = Flatten (z)", {"m": array(4, 3, 1, 1)}, "N, 4", None),
    "moved": (
        "f = Flatten (p) z = MatMul (f, m) u = Unsqueeze (z, axes) v = Identity (u) y = Reshape (v, size)",
        {"m": array(6, 5), "axes": np.array([2]), "size": np.array([-1, 5])},
        "N, 5",
        "f",
    ),
    "dropout": ("f = Flatten (p) z = Gemm (f, m) y = Dropout (z)", {"m": array(6, 5)}, "N, 5", "f"),
    "a computed bias": (
        "f = Flatten (p) g = MatMul (f, c) y = Gemm (f, m, g)",
        {"m": array(6, 5), "c": array(6, 5)},
        "N, 5",
        None,
    ),
    "a sum of two": (
        "f = Flatten (p) g = MatMul (f, c) z = MatMul (f, m) y = Add (z, g)",
        {"m": array(6, 5), "c": array(6, 5)},
        "N, 5",
        None,
    ),
    "a bias that widens": (
        "f = Flatten (p) z = MatMul (f, m) y = Add (z, c)",
        {"m": array(6, 1), "c": array(5)},
        "N, 5",
        None,
    ),
    "two rows for a sample": (
        "h = Reshape (p, rows) z = MatMul (h, m) y = Reshape (z, size)",
        {"rows": np.array([-1, 3]), "m": array(3, 2), "size": np.array([-1, 4])},
        "N, 4",
        None,
    ),
    "a softmax": ("f = Flatten (p) z = Gemm (f, m) y = Softmax (z)", {"m": array(6, 5)}, "N, 5", None),
    "a mask that is computed": (
        "f = Flatten (p) q = Sigmoid (f) r = Mul (f, q) y = Gemm (r, m)",
        {"m": array(6, 5)},
        "N, 5",
        "r",
    ),
}


def built(parse: Callable[..., onnx.ModelProto], name: str) -> onnx.ModelProto:
    nodes, arrays, shape, _ = HEADS[name]
    text = f"g (float[N, 3, 10, 12] image) => (float[{shape}] y) {{ {FEATURES} {nodes} }}"
    return parse(text, w=array(6, 3, 3, 3), **arrays)


def run(model: onnxray.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    ready = ort.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = ready.run([OUTPUT], feeds)[0]
    return found


def expected(model: onnxray.Model, x: np.ndarray, **arguments: Any) -> np.ndarray:
    found = onnxray.explain(model, x, **arguments)
    maps = [e.values for e in (found if len(x) > 1 else [found])]
    return np.stack([m[None] if m.ndim == 2 else m for m in maps])


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = ROUNDING) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("name", HEADS)
def test_found_where_it_is_one(parse: Callable[..., onnx.ModelProto], name: str) -> None:
    head = find_head(onnxray.load(built(parse, name)), "y", 1)
    assert (head.value if head is not None else None) == HEADS[name][3]


@pytest.mark.parametrize(
    "target", ["predicted", 1, "contrast:3,0", "contrast:predicted,rank:2", "rank:3", "prob:2", "logit:predicted"]
)
@pytest.mark.parametrize("name", HEADS)
def test_the_gradient_is_the_same(parse: Callable[..., onnx.ModelProto], name: str, target: Any) -> None:
    model, x = onnxray.load(built(parse, name)), array(3, 3, 10, 12)
    for method, layer in (("grad-cam", "b"), ("gradient", None)):
        compiled = onnxray.compile(model, method, layer, target, upsample="none")
        onnx.checker.check_model(compiled.proto, full_check=True)
        wanted = expected(model, x, method=method, layer=layer, target=target)
        # Classes that differ by a constant have no contrast.
        assert wanted.any() != (name == "a bias that widens" and "contrast" in str(target))
        close(run(compiled, {"image": x}), wanted)


@pytest.mark.parametrize("name", HEADS)
def test_classes_chosen_at_run_time(parse: Callable[..., onnx.ModelProto], name: str) -> None:
    model, x = onnxray.load(built(parse, name)), array(3, 3, 10, 12)
    compiled = onnxray.compile(model, "gradient", target="runtime", upsample="none")
    found = run(compiled, {"image": x, "target_class": np.array([2, 9, 0])})
    for sample, target in ((0, 2), (2, 0)):
        close(found[sample][None], expected(model, x[sample : sample + 1], method="gradient", target=target))
    assert not found[1].any()  # there is no class 9


def test_layers_behind_and_beside_the_head(parse: Callable[..., onnx.ModelProto]) -> None:
    """What the head reads is read by others too; a layer may be that value, or one that the head does not read."""
    model = parse(
        f"""g (float[N, 3, 10, 12] image) => (float[N, 5] y, float[N, 4] other) {{ {FEATURES}
          z = Conv (p, m)
          y = Flatten (z)
          q = Conv (p, k)
          r = Relu (q)
          other = Flatten (r)
        }}""",
        w=array(6, 3, 3, 3),
        m=array(5, 6, 1, 1),
        k=array(4, 6, 1, 1),
    )
    loaded, x = onnxray.load(model), array(2, 3, 10, 12)
    for layer in ("b", "p", "z"):
        compiled = onnxray.compile(loaded, "hires-cam", layer, 4, upsample="none", output="y")
        wanted = expected(loaded, x, method="hires-cam", layer=layer, target=4, output="y")
        close(run(compiled, {"image": x}), wanted)


def test_a_linear_model_of_the_image(parse: Callable[..., onnx.ModelProto]) -> None:
    """The head reads the input itself: the gradient is the row."""
    weights = array(5, 12)
    model = parse("g (float[N, 12] image) => (float[N, 5] y) { y = Gemm <transB = 1> (image, m) }", m=weights)
    compiled = onnxray.compile(model, "gradient", target=3)
    np.testing.assert_array_equal(run(compiled, {"image": array(2, 12)}), np.stack([weights[3]] * 2))


def test_the_matrix_is_not_multiplied_once_more(cnn: onnx.ModelProto) -> None:
    compiled = onnxray.compile(cnn, upsample="none")
    weights = cnn.graph.initializer[4].name
    readers = [node.op_type for node in compiled.graph.node if weights in node.input]
    assert sorted(readers) == ["Gather", "Gemm"]


@pytest.mark.parametrize("target", ["predicted", 2, "contrast:1,rank:3"])
def test_half_precision(parse: Callable[..., onnx.ModelProto], target: Any) -> None:
    text = f"g (float16[N, 3, 10, 12] image) => (float16[N, 5] y) {{ {FEATURES} z = Conv (p, m) y = Flatten (z) }}"
    half = {"w": array(6, 3, 3, 3).astype(np.float16), "m": array(5, 6, 1, 1).astype(np.float16)}
    model, x = onnxray.load(parse(text, **half)), array(2, 3, 10, 12).astype(np.float16)
    compiled = onnxray.compile(model, "grad-cam", "b", target, upsample="none")
    onnx.checker.check_model(compiled.proto, full_check=True)
    close(run(compiled, {"image": x}), expected(model, x, method="grad-cam", layer="b", target=target), HALF)
