"""Networks to be cut, and what it costs to cut them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.incremental import estimates
from onnxray.engine.incremental.locality import locality
from onnxray.engine.incremental.network import Network
from onnxray.engine.inspect.concrete_shapes import concrete_shapes

Parse = Callable[..., onnx.ModelProto]


@pytest.fixture
def cut_wherever_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time for making and starting graphs: small networks are cut, and for few windows too."""
    for name in ("SMALL", "GRAPH_TIME", "GRAPH_NODE_TIME", "RUN_TIME", "NODE_TIME"):
        monkeypatch.setattr(estimates, name, 0)


@pytest.fixture(scope="session")
def network_of() -> Callable[[onnxray.Model], Network]:
    """The network of a model with the image input x."""

    def network(model: onnxray.Model) -> Network:
        sizes = {
            name: None if shape is None else ((2, *shape[1:]) if model.constant(name) is None and shape else shape)
            for name, shape in concrete_shapes(model).items()
        }
        return Network(model, locality(model, "x", (2, 3), sizes))

    return network


@pytest.fixture
def residual(parse: Parse) -> onnxray.Model:
    """A small residual network for x of 64 by 64."""
    rng = np.random.default_rng(0)
    square = (16, 16, 3, 3)
    shapes = {"w1": (16, 3, 3, 3), "w2": square, "w3": square, "w4": square, "head": (16, 4)}
    return onnxray.load(
        parse(
            """
            net (float[N, 3, 64, 64] x) => (float[N, 4] y)
            {
              c1 = Conv <pads = [1, 1, 1, 1]> (x, w1) r1 = Relu (c1)
              p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
              c2 = Conv <pads = [1, 1, 1, 1]> (p1, w2) r2 = Relu (c2)
              c3 = Conv <pads = [1, 1, 1, 1]> (r2, w3) s = Add (c3, p1) r3 = Relu (s)
              c4 = Conv <pads = [1, 1, 1, 1]> (r3, w4) r4 = Relu (c4)
              g = GlobalAveragePool (r4) f = Flatten (g) y = Gemm (f, head)
            }
            """,
            **{name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        )
    )
