"""Fixed batch sizes made dynamic: the results are those of single samples, or it is refused with the node's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import numpy_helper

import onnxray
from onnxray.engine.errors import ShapeError
from onnxray.engine.graph.dynamic_batch.make_dynamic import make_dynamic
from onnxray.engine.inference.session import Session
from onnxray.tests.rounding import HALF, ROUNDING

Parse = Callable[..., onnx.ModelProto]

RNG = np.random.default_rng(0)


def samples(model: onnxray.Model, batch: int, count: int) -> dict[str, np.ndarray]:
    """`count` batches for every input: small whole numbers for integers, normal ones for floats."""
    rng = np.random.default_rng(1)
    found = {}
    for value in model.inputs:
        assert value.dtype is not None
        assert value.shape is not None
        shape = (batch * count, *(d if isinstance(d, int) else 8 for d in value.shape[1:]))
        if value.dtype.kind in "iu":
            found[value.name] = rng.integers(0, 2, shape).astype(value.dtype)
        elif value.dtype.kind == "b":
            found[value.name] = np.ones(shape, bool)
        else:
            found[value.name] = rng.standard_normal(shape).astype(value.dtype)
    return found


def agrees_with_singles(model: onnxray.Model, dynamic: onnxray.Model, tolerance: float) -> None:
    batch = model.inputs[0].shape[0]  # type: ignore[index]
    assert isinstance(batch, int)
    x = samples(model, batch, 3)
    whole = Session(dynamic, threads=1).run(x)
    single = Session(model, threads=1)
    parts = [single.run({k: a[i * batch : (i + 1) * batch] for k, a in x.items()}) for i in range(3)]
    for name, got in whole.items():
        expected = np.concatenate([part[name] for part in parts]).astype(np.float64)
        assert_allclose(got, expected, rtol=0, atol=tolerance * (np.abs(expected).max() + 1e-12), err_msg=name)


def check(model: onnxray.Model, tolerance: float = ROUNDING) -> onnxray.Model:
    dynamic = make_dynamic(model)
    for value in (*dynamic.inputs, *dynamic.outputs):
        assert isinstance(value.shape[0], str)  # type: ignore[index]
    if all(node.domain in ("", "ai.onnx") for node in dynamic.graph.node):
        onnx.checker.check_model(dynamic.proto, full_check=True)
    agrees_with_singles(model, dynamic, tolerance)
    return dynamic


# Those of the zoo whose batch is fixed and which mix samples, or have no batch at all, and the operator to blame.
MIXING = {
    "d_convnext_op18": "Reshape",  # statistics of a normalisation as one vector
    "d_gru_text_op18": "Transpose",  # sequences first
    "d_lstm_op18": "Transpose",
    "h_einsum_op13": "Einsum",
    "h_gemm_variants_op13": "Gemm",
    "h_gru_lbr0_op14": "GRU",
    "h_if_outer_scope_op16": "ReduceSum",
    "h_nms_op13": "NonMaxSuppression",
    "h_norms_op21": "MeanVarianceNormalization",
    "h_reduce_op11": "ReduceSum",
    "h_reduce_op18": "ReduceSum",
    "h_shapeops_op18": "GatherND",
    "h_unary_op20": "Concat",
    "hf_swin_op17": "Reshape",  # windows beside samples
    "j_scan_rnn_op18": "Loop",
    "j_vit_op20": "Transpose",
    "o_ortbasic_hf_segformer_op13": "Reshape",
    "o_ortext_hf_vit_op17": "Reshape",
    "o_slim_hf_swin_op17": "Reshape",
    "t_gru_op11": "Shape",
    "t_if_op17": "ReduceMean",
    "t_loop_op17": "Shape",
    "t_lstm_op13": "Transpose",
    "t_miscops_op17": "Trilu",
    "t_ts_transformer_op14": "Transpose",
}


def test_every_framework(zoo_case: Path) -> None:
    model = onnxray.load(zoo_case / "model.onnx")
    if not any(v.shape and isinstance(v.shape[0], int) for v in model.inputs):
        assert make_dynamic(model) is model
    elif zoo_case.name in MIXING:
        with pytest.raises(ShapeError, match=rf"cannot be made dynamic: .*\({MIXING[zoo_case.name]}\).*at a time"):
            make_dynamic(model)
    else:
        check(model, HALF if "fp16" in zoo_case.name else ROUNDING)


@pytest.mark.parametrize("name", ["mnist_cntk", "ultraface_rfb_320", "mobilenet_v2_int8_qlinear"])
def test_trained_networks_with_a_fixed_batch(zoo: Path, name: str) -> None:
    check(onnxray.load(zoo / "models" / f"{name}.onnx"))


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = "float[B, 4, 6, 6] x"
ROWS = "float[B, 8] x"
TOKENS = "float[B, 5, 8] x"

SAFE = [
    (IMAGE, "y = Conv <pads = [1, 1, 1, 1]> (x, w)", {"w": weights(3, 4, 3, 3)}),
    (IMAGE, "y = ConvTranspose <strides = [2, 2]> (x, w)", {"w": weights(4, 2, 3, 3)}),
    (IMAGE, "y = MaxPool <kernel_shape = [2, 2]> (x)", {}),
    (IMAGE, "y = BatchNormalization (x, s, s, s, v)", {"s": weights(4), "v": np.ones(4, np.float32)}),
    (IMAGE, "y = InstanceNormalization (x, s, s)", {"s": weights(4)}),
    (IMAGE, "y = Dropout (x)", {}),
    (IMAGE, "y = Add (x, c)", {"c": weights(4, 1, 1)}),
    (IMAGE, "y = Mul (c, x)", {"c": weights(1, 4, 6, 6)}),
    (IMAGE, "t = Relu (x) u = Sigmoid (x) y = Mul (t, u)", {}),
    (IMAGE, "m = GlobalAveragePool (x) y = Mul (x, m)", {}),
    (IMAGE, "g = Greater (x, c) z = Neg (x) y = Where (g, x, z)", {"c": np.float32(0)}),
    (IMAGE, "y = Clip (x, lo, hi)", {"lo": np.float32(-1), "hi": np.float32(1)}),
    (IMAGE, "y = Flatten (x)", {}),
    (IMAGE, "y = Flatten <axis = -3> (x)", {}),
    (IMAGE, "y = Reshape (x, s)", {"s": np.array([-1, 144])}),
    (IMAGE, "y = Reshape (x, s)", {"s": np.array([0, 4, 36])}),
    (IMAGE, "y = Transpose <perm = [0, 2, 3, 1]> (x)", {}),
    (IMAGE, "y = Concat <axis = 1> (x, x)", {}),
    (IMAGE, "y, z = Split <axis = 1> (x)", {}),
    (IMAGE, "y = Slice (x, a, b, c)", {"a": np.array([1]), "b": np.array([3]), "c": np.array([2])}),
    (IMAGE, "y = Slice (x, a, b)", {"a": np.array([0, 1]), "b": np.array([2**31 - 1, 3])}),
    (IMAGE, "y = Pad (x, p)", {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    (IMAGE, "y = ReduceMean <axes = [2, 3]> (x)", {}),
    (IMAGE, "y = ReduceMax <axes = [-1], keepdims = 0> (x)", {}),
    (IMAGE, "y = ReduceSum (x, a)", {"a": np.array([1])}),
    (IMAGE, "y = Resize (x, , s)", {"s": np.array([1, 1, 2, 2], np.float32)}),
    (IMAGE, "y = DepthToSpace <blocksize = 2> (x)", {}),
    (IMAGE, "y = Unsqueeze (x, a)", {"a": np.array([1])}),
    (IMAGE, "r = ReduceMean <axes = [2, 3]> (x) y = Squeeze (r, a)", {"a": np.array([2, 3])}),
    (IMAGE, "y = Softmax <axis = 1> (x)", {}),
    (IMAGE, "y = LRN <size = 3> (x)", {}),
    (IMAGE, "y = Tile (x, r)", {"r": np.array([1, 2, 1, 1])}),
    (IMAGE, "y = ArgMax <axis = 1> (x)", {}),
    (IMAGE, "y = CumSum (x, a)", {"a": np.array(1)}),
    (IMAGE, "y = Gather <axis = 2> (x, i)", {"i": np.array([0, 5])}),
    (IMAGE, "q = QuantizeLinear <axis = 1> (x, s, z) y = DequantizeLinear <axis = 1> (q, s, z)",
     {"s": np.full(4, 0.1, np.float32), "z": np.full(4, 7, np.int8)}),
    (ROWS, "y = Gemm <transB = 1> (x, w, b)", {"w": weights(3, 8), "b": weights(3)}),
    (ROWS, "y = MatMul (x, w)", {"w": weights(8, 3)}),
    (ROWS, "y = Softmax (x)", {}),
    (ROWS, "y, i = TopK (x, k)", {"k": np.array([3])}),
    (ROWS, "y = Expand (x, s)", {"s": np.array([1, 8])}),
    (ROWS, "y = LpNormalization (x)", {}),
    (TOKENS, "y = MatMul (x, w)", {"w": weights(1, 8, 3)}),
    (TOKENS, "t = Transpose <perm = [0, 2, 1]> (x) y = MatMul (x, t)", {}),
    (TOKENS, "y = MatMul (w, x)", {"w": weights(2, 5)}),
    (TOKENS, "y = LayerNormalization (x, s)", {"s": weights(8)}),
    (TOKENS, "y = Einsum <equation = \"bij,jk->bik\"> (x, w)", {"w": weights(8, 3)}),
    (TOKENS, "y = Einsum <equation = \"bij,bkj->bik\"> (x, x)", {}),
    ("int64[B, 5] x", "y = Gather (w, x)", {"w": weights(9, 3)}),
    (TOKENS, "i = ArgMax <axis = 1> (x) y = GatherElements <axis = 1> (x, i)", {}),
]  # fmt: skip

UNSAFE = [
    (IMAGE, "y = ReduceMean <axes = [0]> (x)", "it reduces axis 0"),
    (IMAGE, "y = ReduceMax <keepdims = 0> (x)", "it reduces all axes"),
    (IMAGE, "y = Add (x, c)", "'c' holds something of its own for every sample"),
    (IMAGE, "t = ReduceMean <axes = [1, 2, 3], keepdims = 0> (x) y = Mul (x, t)", "broadcast against another axis"),
    (IMAGE, "y = Flatten <axis = 0> (x)", "merges axis 0"),
    (IMAGE, "y = Flatten <axis = 2> (x)", "merges axis 0"),
    (IMAGE, "y = Reshape (x, s)", "merges axis 0"),
    (IMAGE, "y = Transpose <perm = [1, 0, 2, 3]> (x)", "moves axis 0"),
    (IMAGE, "y = Transpose (x)", "moves axis 0"),
    (IMAGE, "y = Concat <axis = 0> (x, x)", "joins along axis 0"),
    (IMAGE, "y, z = Split <axis = 0> (x)", "splits axis 0"),
    (IMAGE, "y = Slice (x, a, b)", "slices axis 0"),
    (IMAGE, "y = Pad (x, p)", "pads axis 0"),
    (IMAGE, "y = Softmax <axis = 0> (x)", "works along axis 0"),
    (IMAGE, "y = Tile (x, r)", "repeats samples"),
    (IMAGE, "y = Gather (x, i)", "picks samples"),
    (IMAGE, "y = MeanVarianceNormalization (x)", "takes the mean over axis 0"),
    (IMAGE, "y, j = MaxPool <kernel_shape = [2, 2]> (x)", "indices of its maxima"),
    (IMAGE, "y = Conv (w, x)", "its first input does not depend on the samples"),
    (IMAGE, "y = Unsqueeze (x, zero)", "adds or drops axis 0"),
    (IMAGE, "y = RandomNormalLike (x)", "may mix samples"),
    (IMAGE, "y = NonZero (x)", "may mix samples"),
    (IMAGE, "q, d, e = DynamicQuantizeLinear (x) y = DequantizeLinear (q, d, e)", "may mix samples"),
    (ROWS, "y = Gemm <transA = 1> (x, x)", "depends on the samples"),
    (ROWS, "y = MatMul (w, x)", "multiplied out or moved"),
    (TOKENS, "y = Einsum <equation = \"bij,bij->ij\"> (x, x)", "not the batch throughout"),
    (ROWS, "y = Relu (k)", "output 'y' has no batch axis"),
]  # fmt: skip


def build(parse: Parse, inputs: str, body: str, constants: dict[str, np.ndarray], batch: int) -> onnxray.Model:
    outputs = ["z"] if re.search(r"\bz = Split|y, z", body) else []
    kinds = {"ArgMax <axis = 1> (x)": "int64"}
    kind = next((k for text, k in kinds.items() if body == f"y = {text}"), "float")
    text = f"g ({inputs.replace('B', str(batch))}) => ({kind} y{''.join(f', float {o}' for o in outputs)}) {{ {body} }}"
    proto = parse(text)
    for name, array in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return onnxray.load(proto, output="y")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("inputs", "body", "constants"), SAFE, ids=[f"{i}-{body[:40]}" for i, (_, body, _) in enumerate(SAFE)]
)
def test_operators_that_keep_samples_apart(
    parse: Parse, inputs: str, body: str, constants: dict[str, np.ndarray], batch: int
) -> None:
    check(build(parse, inputs, body, constants, batch))


@pytest.mark.parametrize(("inputs", "body", "reason"), UNSAFE, ids=[body[:40] for _, body, _ in UNSAFE])
def test_operators_that_do_not(parse: Parse, inputs: str, body: str, reason: str) -> None:
    constants: dict[str, np.ndarray] = {
        "c": weights(2, 4, 6, 6),
        "s": np.array([8, 36]),
        "a": np.array([0]),
        "b": np.array([1]),
        "p": np.array([1, 0, 0, 0, 0, 0, 0, 0]),
        "r": np.array([2, 1, 1, 1]),
        "i": np.array([0, 1]),
        "w": weights(3, 2) if inputs == ROWS else weights(1, 2, 3, 3),
        "zero": np.array([0]),
        "k": weights(2, 2),
    }
    made = build(parse, inputs, body, {k: v for k, v in constants.items() if re.search(rf"\b{k}\b", body)}, 2)
    with pytest.raises(ShapeError, match=re.escape(reason)):
        make_dynamic(made)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("y = Reshape (x, s)", {"s": ["B", 4, 36]}),
        ("y = Reshape (x, s)", {"s": ["B", -1]}),
        ("y = Reshape <allowzero = 1> (x, s)", {"s": ["B", 144]}),
        ("y = Reshape <allowzero = 1> (x, s)", {"s": ["B", 4, -1]}),
        ("y = Expand (x, s)", {"s": ["B", 4, 6, 6]}),
        ("y = Resize <mode = \"linear\"> (x, , , s)", {"s": ["B", 4, 7, 11]}),
        ("y = Resize <coordinate_transformation_mode = \"align_corners\", mode = \"cubic\"> (x, , , s)", {"s": ["B", 4, 13, 5]}),
    ],
)  # fmt: skip
def test_batch_sizes_in_arguments_are_rewritten(
    parse: Parse, batch: int, body: str, constants: dict[str, list[object]]
) -> None:
    arrays = {k: np.array([batch if v == "B" else v for v in values]) for k, values in constants.items()}
    check(build(parse, IMAGE, body, arrays, batch))


def test_an_argument_that_another_node_reads_too(parse: Parse) -> None:
    """Rewriting it for one must not change it for the other."""
    made = build(
        parse, ROWS, "t = Reshape (x, s) c = ConstantOfShape (s) v = Squeeze (c, a) y = Add (t, v)",
        {"s": np.array([1, 8]), "a": np.array([0])}, 1,
    )  # fmt: skip
    check(made)


def test_a_class_token_is_repeated(parse: Parse) -> None:
    """Something that is the same for every sample, joined to each of them, as in a vision transformer."""
    check(build(parse, TOKENS, "y = Concat <axis = 1> (token, x)", {"token": weights(1, 1, 8)}, 1))
    several = build(parse, TOKENS, "y = Concat <axis = 1> (token, x)", {"token": weights(2, 1, 8)}, 2)
    with pytest.raises(ShapeError, match="'token' holds something of its own"):
        make_dynamic(several)


def test_several_inputs(parse: Parse) -> None:
    text = "g (float[2, 3] a, float[BATCH] b) => (float[2, 3] y) { y = Add (a, b) }"
    check(onnxray.load(parse(text.replace("BATCH", "2, 3"))))
    for other, reason in (
        ("1, 3", "the inputs differ in it"),
        ("N, 3", "not known which axis"),
        ("", "not known which axis"),
    ):
        with pytest.raises(ShapeError, match=reason):
            make_dynamic(onnxray.load(parse(text.replace("BATCH", other))))


def test_names_are_not_used_twice(parse: Parse) -> None:
    model = onnxray.load(parse("g (float[1, batch] x) => (float[1, batch] y) { y = Relu (x) }"))
    assert make_dynamic(model).inputs[0].shape == ("batch_", "batch")


def test_nothing_else_changes(zoo: Path) -> None:
    model = onnxray.load(zoo / "frameworks" / "t_plaincnn_b1_op11" / "model.onnx", size=32)
    before = model.content_key
    dynamic = make_dynamic(model)
    assert model.content_key == before
    assert dynamic.overrides == model.overrides
    assert [v.name for v in dynamic.inputs] == [v.name for v in model.inputs]
    assert set(model.values) <= set(dynamic.values)
