"""Networks of two branches: class activation maps are taken where the target depends on the maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.registry import methods

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(10)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
CAMS = sorted(name for name, cls in methods().items() if cls.at_layer)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def side_by_side(parse: Parse, last: str = "y = Identity (joined)") -> onnxray.Model:
    """Classes 0 to 2 from the maps `a`, 3 to 5 from the coarser maps `b`, each of the image itself."""
    proto = parse(
        f"""m (float[N, 3, 8, 8] image) => (float[N, 6] y) {{
              ca = Conv <pads = [1, 1, 1, 1]> (image, w1)  a = Relu (ca)  ga = GlobalAveragePool (a)  fa = Flatten (ga)  ha = MatMul (fa, v1)
              cb = Conv <strides = [2, 2]> (image, w2)  b = Relu (cb)  gb = GlobalAveragePool (b)  fb = Flatten (gb)  hb = MatMul (fb, v2)
              joined = Concat <axis = 1> (ha, hb)  {last} }}""",
        w1=normal(4, 3, 3, 3),
        v1=normal(4, 3),
        w2=normal(5, 3, 2, 2),
        v2=normal(5, 3),
    )
    return onnxray.load(proto)


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize(("target", "layer"), [(1, "a"), (4, "b"), ("element:y:1", "a"), ("element:y:4", "b")])
def test_classes_side_by_side(parse: Parse, name: str, target: int | str, layer: str) -> None:
    if name in ("cam", "finer-cam"):
        pytest.skip("cam takes no Concat; finer-cam compares the classes of both branches")
    model = side_by_side(parse)
    e = onnxray.explain(model, X, name, target)
    assert e.layer == layer
    assert e.values.any() or name == "guided-grad-cam"  # which shows what is positive alone


@pytest.mark.parametrize("name", [n for n in CAMS if n != "finer-cam"])
def test_two_outputs(parse: Parse, name: str) -> None:
    proto = parse(
        """m (float[N, 3, 8, 8] image) => (float[N, 4] one, float[N, 5] two) {
             ca = Conv <pads = [1, 1, 1, 1]> (image, w1)  a = Relu (ca)  ga = GlobalAveragePool (a)  one = Flatten (ga)
             cb = Conv <strides = [2, 2]> (image, w2)  b = Relu (cb)  gb = GlobalAveragePool (b)  two = Flatten (gb) }""",
        w1=normal(4, 3, 3, 3),
        w2=normal(5, 3, 2, 2),
    )
    model = onnxray.load(proto)
    for target, layer in [("element:one:1", "a"), ("element:two:1", "b"), ("value:one:2", "a")]:
        assert onnxray.explain(model, X, name, target).layer == layer
