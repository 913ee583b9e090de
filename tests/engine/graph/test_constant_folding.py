"""Constant folding: the same results, the same names, parameters left alone, hostile sizes not computed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.graph import constant_folding as fold
from onnxray.engine.inference.session import run
from onnxray.tests.engine.zoo import feeds_of

Parse = Callable[..., onnx.ModelProto]


def unfolded(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime on the model as it was given."""
    made = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = made.run(None, feeds)
    return outputs


SHAPES = """
g (float[2, 3, 4] x) => (float[a, b] y, int64[c] sizes)
{
  shape = Shape (x)
  first = Gather <axis = 0> (shape, zero)
  rest = Constant <value_ints = [-1]> ()
  one = Unsqueeze (first, zeros)
  target = Concat <axis = 0> (one, rest)
  y = Reshape (x, target)
  twice = Mul (shape, two)
  sizes = Identity (twice)
}
"""


def test_shapes_become_constants_of_the_same_name(parse: Parse) -> None:
    proto = parse(SHAPES, zero=np.array(0), zeros=np.array([0]), two=np.array(2))
    model = onnxray.load(proto)
    assert [n.op_type for n in model.graph.node] == ["Reshape", "Identity"]
    assert_array_equal(model.constant("target"), [2, -1])  # type: ignore[arg-type]
    assert_array_equal(model.constant("twice"), [4, 6, 8])  # type: ignore[arg-type]
    assert {"shape", "first", "rest", "one", "target", "twice", "y", "sizes"} <= set(model.values)
    assert model.outputs[0].shape == (2, 12)
    x = np.random.default_rng(0).random((2, 3, 4), np.float32)
    for got, wanted in zip(run(model, {"x": x}).values(), unfolded(proto, {"x": x}), strict=True):
        assert_array_equal(got, wanted)


def test_open_sizes_stay_computed(parse: Parse) -> None:
    proto = parse(SHAPES.replace("x)", "x)", 1), zero=np.array(0), zeros=np.array([0]), two=np.array(2))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    model = onnxray.load(proto)
    assert model.constant("target") is None
    x = np.random.default_rng(0).random((5, 3, 4), np.float32)
    assert_array_equal(run(model, {"x": x})["y"], x.reshape(5, 12))


def test_parts_of_a_shape_that_are_known(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            """g (float[N, 3, 4, 5] x) => (int64[2] a, int64[1] b, int64[k] c)
            { sa = Shape <start = 1, end = -1> (x) a = Neg (sa) sb = Shape <start = -1> (x) b = Neg (sb)
              sc = Shape <end = 2> (x) c = Neg (sc) }"""
        )
    )
    assert_array_equal(model.constant("sa"), [3, 4])  # type: ignore[arg-type]
    assert_array_equal(model.constant("sb"), [5])  # type: ignore[arg-type]
    assert model.constant("sc") is None
    got = run(model, {"x": np.zeros((7, 3, 4, 5), np.float32)})
    assert [v.tolist() for v in got.values()] == [[-3, -4], [-5], [-7, -3]]


def test_parameters_are_not_folded(parse: Parse) -> None:
    """The gradient with respect to a stored weight must find a way to it."""
    proto = parse(
        """g (float[N, 3] x) => (float[N, 2] y)
        {
          transposed = Transpose <perm = [1, 0]> (w)
          doubled = Mul (transposed, two)
          m = MatMul (x, doubled)
          c = Constant <value = float[1, 2] {1, -1}> ()
          flipped = Neg (c)
          y = Add (m, flipped)
        }""",
        w=np.arange(6, dtype=np.float32).reshape(2, 3),
        two=np.float32(2),
    )
    model = onnxray.load(proto)
    assert [n.op_type for n in model.graph.node] == ["Transpose", "Mul", "MatMul", "Neg", "Add"]
    x = np.ones((1, 3), np.float32)
    assert_allclose(run(model, {"x": x})["y"], unfolded(proto, {"x": x})[0])


def test_formula_constants_are_folded(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            """g (float[N, 3] x) => (float[N, 3] y)
            { eight = Constant <value_float = 8.0> () root = Sqrt (eight) scale = Div (one, root)
              one = Constant <value = float {1}> () y = Mul (x, scale) }"""
        )
    )
    assert [n.op_type for n in model.graph.node] == ["Mul"]
    assert_allclose(model.constant("scale"), 8**-0.5, rtol=1e-6)  # type: ignore[arg-type]


def test_integers_of_parameters_are_folded(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            "g (float[3] x) => (float[k] y) { i = Cast <to = 7> (w) j = Add (i, i) y = Gather (x, j) }",
            w=np.array([0, 1], np.float32),
        )
    )
    assert [n.op_type for n in model.graph.node] == ["Gather"]
    assert_array_equal(model.constant("j"), [0, 2])  # type: ignore[arg-type]


def test_what_can_be_fed_is_no_constant(parse: Parse) -> None:
    proto = parse("g (float[3] x, int64[1] k) => (float[n] y) { j = Add (k, k) y = Gather (x, j) }", k=np.array([1]))
    model = onnxray.load(proto)
    assert [n.op_type for n in model.graph.node] == ["Add", "Gather"]
    x = np.arange(3, dtype=np.float32)
    assert run(model, {"x": x})["y"].tolist() == [2]
    assert run(model, {"x": x, "k": np.array([0])})["y"].tolist() == [0]


def test_random_numbers_are_no_constants(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            """g (float[3] x) => (float[3] y)
            { s = Shape (x) r = ConstantOfShape (s) u = RandomUniformLike (r) y = Add (x, u) }"""
        )
    )
    assert [n.op_type for n in model.graph.node] == ["RandomUniformLike", "Add"]
    x = np.zeros(3, np.float32)
    assert not np.array_equal(run(model, {"x": x})["y"], run(model, {"x": x})["y"])


def test_outputs_stay_nodes(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            """g (float[2] x) => (int64[1] s, float k, float[2] y)
            { s = Shape (x) k = Constant <value_float = 2.0> () y = Relu (x) }"""
        )
    )
    assert [n.op_type for n in model.graph.node] == ["Shape", "Constant", "Relu"]
    assert run(model, {"x": np.ones(2, np.float32)})["s"].tolist() == [2]


def test_scalars_stay_scalars(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            """g (float[2, 3] x) => (float[2, 3] y)
            { n = Size (x) m = Mul (n, n) f = Cast <to = 1> (m) y = Mul (x, f) }"""
        )
    )
    constant = model.constant("f")
    assert constant is not None
    assert constant.shape == ()
    assert constant == 36


@pytest.mark.parametrize(
    "body",
    [
        "big = ConstantOfShape (n)",
        "big = Expand (one, n)",
        "big = Tile (row, n)",
        "last = Squeeze (n) counted = Range (zero, last, step) big = Cast <to = 1> (counted)",
        "a = Expand (one, n) b = Concat <axis = 0> (a, a) big = Concat <axis = 0> (b, b)",
    ],
)
def test_hostile_sizes_are_not_computed(parse: Parse, body: str) -> None:
    """10^12 numbers out of one."""
    proto = parse(
        f"g (float[1] x) => (float[1] y) {{ {body} small = ReduceSum <keepdims = 0> (big) y = Add (x, small) }}",
        n=np.array([10**12]),
        one=np.ones(1, np.float32),
        row=np.ones(1, np.float32),
        zero=np.array(0),
        step=np.array(1),
    )
    tracemalloc.start()
    model = onnxray.load(proto)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20
    assert "big" not in model.initializers
    assert sum(t.ByteSize() for t in model.graph.initializer) < 1000


def test_many_hostile_nodes(tmp_path: Path) -> None:
    """Each within the limit of one, together 100 GB."""
    nodes = [helper.make_node("ConstantOfShape", ["n"], [f"c{i}"]) for i in range(10_000)]
    nodes += [helper.make_node("Add", ["x" if i == 0 else f"s{i - 1}", f"c{i}"], [f"s{i}"]) for i in range(10_000)]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("s9999", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([2_500_000]), "n")],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = onnxray.load(proto)
    assert sum(t.ByteSize() for t in model.graph.initializer) <= fold._MOST_BYTES_IN_ALL + 1000


def test_what_fails_is_left_to_the_run(parse: Parse) -> None:
    """A constant expression that cannot be computed: the model loads, running it says why."""
    proto = parse(
        "g (float[2] x) => (float[k] y) { t = Gather (table, far) s = Mul (t, t) y = Reshape (x, s) }",
        table=np.array([1, 2]),
        far=np.array([7]),
    )
    model = onnxray.load(proto)
    with pytest.raises(onnxray.OnnxrayError, match=r"Gather|indices"):
        run(model, {"x": np.ones(2, np.float32)})


def test_folding_does_not_change_results(zoo: Path) -> None:
    """Over all models of the zoo that have something to fold."""
    folded = 0
    for case in sorted((zoo / "frameworks").iterdir()):
        if not (case / "meta.json").is_file():
            continue
        proto = onnx.load(case / "model.onnx")
        model = onnxray.load(case / "model.onnx")
        if len(model.graph.node) == len(proto.graph.node) or proto.functions:
            continue
        folded += 1
        feeds = feeds_of(case)
        names = {v.name for v in model.inputs}
        feeds = {k: v for k, v in feeds.items() if k in names}
        wanted = unfolded(proto, feeds)
        for output, got in zip(wanted, run(model, feeds).values(), strict=True):
            if isinstance(output, np.ndarray) and output.dtype.kind == "f":
                assert_allclose(got, output, rtol=1e-3, atol=1e-4 * np.abs(output).max(), err_msg=case.name)
        computed = {name for node in proto.graph.node for name in node.output if name}
        assert computed <= set(model.values) | {""}, case.name
    assert folded > 30


def test_paddings_computed_from_shapes_one_behind_the_other_are_all_folded(parse: Parse) -> None:
    """timm's Swin pads every map to a multiple of its window, by amounts computed from Shape: 20 of them here."""
    nodes, last = [], "x"
    for i in range(20):
        nodes.append(f"s{i} = Shape ({last}) p{i} = Mod (s{i}, two) q{i} = Concat <axis = 0> (p{i}, p{i})")
        nodes.append(f"v{i} = Pad ({last}, q{i})")
        last = f"v{i}"
    proto = parse("g (float[1, 2, 8, 8] x) => (float[a, b, c, d] y) { " + " ".join(nodes) + f" y = Relu ({last}) }}")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 2, 2]), "two"))
    model = onnxray.load(proto)
    assert {node.op_type for node in model.graph.node} == {"Pad", "Relu"}
    assert model.value("y").shape == (1, 2, 8, 8)
