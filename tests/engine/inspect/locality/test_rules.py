"""What the rules answer where incremental inference asks for nothing: open sizes, other ranks, other layouts.

`tests/engine/incremental/test_locality.py` holds every rule against brute force.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inspect.locality.reach import SAME, Reach
from onnxray.engine.inspect.locality.rules import Link, LocalNode, Mixing
from onnxray.engine.inspect.locality.table import links

IMPORTS = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'


def asked(text: str, axes: tuple[int, ...], **arrays: np.ndarray | np.generic) -> dict[int, Link]:
    """What the rule of the last node says of `axes` of its first input; `y` has four axes."""
    proto = onnx.parser.parse_model(f"{IMPORTS} g {text}")
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()
    )
    model = onnxray.load(proto)
    node = model.graph.node[-1]
    return links(LocalNode(model, node, {node.input[0]: axes}, {"y": (1, 1, 1, 1)} if "=> (y)" in text else {}))[
        node.input[0]
    ]


def test_open_sizes_and_three_axes() -> None:
    text = "(float[N, 1, T, H, W] x) => (float[N, 2, t, h, w] y) { y = Conv <strides = [1, 2, 3]> (x, w) }"
    found = asked(text, (0, 2, 3, 4), w=np.ones((2, 1, 3, 4, 5), np.float32))
    assert found == {
        0: Link(0),
        2: Link(2, Reach(1, 1, 0, 2)),
        3: Link(3, Reach(2, 1, 0, 3)),
        4: Link(4, Reach(3, 1, 0, 4)),
    }


@pytest.mark.parametrize(
    "call",
    ["NhwcMaxPool <kernel_shape = [3, 2], strides = [2, 1]> (b)", "NhwcFusedConv <strides = [2, 1]> (x, w)"],
)
def test_channels_last(call: str) -> None:
    text = f"""(float16[N, H, W, 4] x) => (y) {{
        c = Cast <to = 1> (x)  b = QuantizeLinear (c, s, z)  y = com.microsoft.{call} }}"""
    arrays = {"s": np.float32(1), "z": np.uint8(0), "w": np.ones((4, 4, 3, 2), np.float16)}
    assert asked(text, (1, 2), **arrays) == {1: Link(1, Reach(2, 1, 0, 2)), 2: Link(2, Reach(1, 1, 0, 1))}
    with pytest.raises(Mixing):
        asked(text, (3,), **arrays)


def test_an_enlargement_is_read_within_bounds() -> None:
    text = "(float[1, 2, 4, 4] x) => (float[1, 2, 8, 4] y) { y = Resize (x, , k) }"
    found = asked(text, (2, 3), k=np.array([1, 1, 2, 1], np.float32))
    assert not found[2].exact
    assert found[3].reach == SAME


def test_an_operator_without_a_rule_mixes() -> None:
    with pytest.raises(Mixing):
        asked("(float[N, 2, H, W] x) => (float[N, 2, 1, 1] y) { y = GlobalAveragePool (x) }", (2, 3))


def test_an_argument_that_is_followed_mixes() -> None:
    with pytest.raises(Mixing):
        asked("(float[4, 4] x) => (float[4, 4] y) { y = MatMul (x, x) }", (0,))
