"""Maps brought to another size inside a graph, against `kernels.upsample`: small maps as products, large ones by Resize."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxray
from onnxray.engine.compile import OUTPUT
from onnxray.engine.compiled.build import _SMALL, _bilinear
from onnxray.kernels.upsample import upsample
from onnxray.tests.rounding import ROUNDING, apart


@pytest.mark.parametrize(("before", "after"), [(1, 7), (7, 7), (7, 224), (13, 29), (64, 65), (20, 9), (9, 1)])
def test_the_weights_of_one_axis(before: int, after: int) -> None:
    maps = np.random.default_rng(0).standard_normal((before, 3)).astype(np.float32)
    found = _bilinear(before, after) @ maps
    np.testing.assert_allclose(found, upsample(maps, (after, 3), "bilinear"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(2 * _SMALL, 40), (2 * _SMALL + 10, 40), (36, 52)])
def test_small_and_large_maps(parse: Callable[..., onnx.ModelProto], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    model = parse(
        f"""
        g (float[N, 3, {size[0]}, {size[1]}] image) => (float[N, 4] y) {{
          a = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (image, w)
          b = Relu (a)
          p = GlobalAveragePool (b)
          y = Flatten (p)
        }}
        """,
        w=rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    x = rng.standard_normal((2, 3, *size)).astype(np.float32)
    cells, pixels = (onnxray.compile(model, upsample=how) for how in ("none", "input"))
    resized = {node.op_type for node in pixels.graph.node} & {"Resize"}
    assert bool(resized) == (max(size) > 2 * _SMALL)
    small, large = (
        ort.InferenceSession(m.proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            [OUTPUT], {"image": x}
        )
        for m in (cells, pixels)
    )
    assert large[0].shape == (2, 1, *size)
    assert apart(large[0][:, 0], upsample(small[0][:, 0], size, "bilinear")) <= ROUNDING


def test_numbers_in_compiled_graphs_say_their_type() -> None:
    """A bare number takes the type of its sibling, which is fine in the short rules of gradients and hidden here."""
    seen, bare = 0, []
    for file in Path(onnxray.__file__).parent.glob("engine/compiled/*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and re.search(r"\bop\.[A-Z]\w*$", ast.unparse(call.func)):
                seen += 1
                text = [ast.unparse(value) for value in call.args]
                bare += [f"{file.name}:{call.lineno}: {t}" for t in text if re.match(r"-?[\d.]|(float|int)\(", t)]
    assert seen > 100
    assert not bare


def test_one_number_without_samples_is_compiled(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(
        parse("g (float[1, 3, 8, 8] x) => (float y) { h = Tanh (x) y = ReduceSum <keepdims = 0> (h) }")
    )
    compiled = onnxray.compile(model, "gradient", preprocess=False)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    session = ort.InferenceSession(compiled.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    got = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True))
    assert float(got["y"]) == pytest.approx(float(np.tanh(x).sum()), rel=1e-5)
    np.testing.assert_allclose(got[OUTPUT], 1 - np.tanh(x) ** 2, atol=1e-5)
