"""Loading: every kind of source, every kind of damage, old and new opsets, functions, constants, saving."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.errors import CardError, ModelError, OnnxrayError, OpsetError, OutputError, UnknownName
from onnxray.engine.graph import model as model_module
from onnxray.engine.graph import prepare, read
from onnxray.engine.graph.model import Model
from onnxray.engine.inference.session import run
from onnxray.engine.inspection import inspect
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]


def one_node(node: onnx.NodeProto, opset: int = 17, shape: object = (2, 3)) -> onnx.ModelProto:
    """x float -> `node` -> y."""
    made = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_every_kind_of_source_gives_the_same_model(tmp_path: Path, cnn: onnx.ModelProto) -> None:
    data = cnn.SerializeToString()
    path = tmp_path / "é m.onnx"
    path.write_bytes(data)
    sources = [path, str(path), data, bytearray(data), memoryview(data), cnn]
    models = [onnxray.load(source) for source in sources]
    assert len({m.content_key for m in models[:-1]}) == 1
    assert models[-1].content_key == onnxray.load(cnn).content_key
    assert models[0].path == path
    assert models[0].folder is None
    assert models[2].path is None
    assert onnxray.load(models[0]) is models[0]
    assert models[0].sha256 == models[2].sha256


def test_the_callers_model_is_not_changed(cnn: onnx.ModelProto, parse: Parse) -> None:
    ancient = parse(
        """<ir_version: 3, opset_import: ["" : 6]> g (float[2, 3] x) => (float[2, 3] y)
        { y = Dropout <is_test = 1, ratio = 0.5> (x) }"""
    )
    for proto in (cnn, ancient):
        before = proto.SerializeToString()
        model = onnxray.load(proto)
        onnxray.expose(model, model.inputs[0].name)
        assert proto.SerializeToString() == before


def test_loading_is_deterministic(tmp_path: Path, cnn: onnx.ModelProto) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(cnn, path)
    script = f"import onnxray; print(onnxray.load({str(path)!r}).content_key)"
    keys = {str(onnxray.load(path).content_key)}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True, cwd=tmp_path
        )
        keys.add(done.stdout.strip())
    assert len(keys) == 1


def test_attributes_of_a_model(cnn: onnx.ModelProto) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(cnn)
    proto.metadata_props.add(key="author", value="me")
    model = onnxray.load(proto)
    assert model.opset == 17
    assert model.opsets == {"": 17}
    assert dict(model.metadata) == {"author": "me"}
    assert [str(v) for v in model.inputs] == ["image: float32 [N, 3, 16, 16]"]
    assert [str(v) for v in model.outputs] == ["logits: float32 [N, 5]"]
    assert model.value("stem").shape == ("N", 8, 16, 16)
    assert model.value("w1").shape == (8, 3, 3, 3)
    assert model.producer("stem").op_type == "Conv"  # type: ignore[union-attr]
    assert model.producer("image") is None
    assert [n.op_type for n in model.consumers("pooled")] == ["Conv", "Add"]
    assert model.consumers("logits") == ()
    assert model.constant("w1").shape == (8, 3, 3, 3)  # type: ignore[union-attr]
    assert model.constant("stem") is None
    with pytest.raises(UnknownName, match="'stem_relu'"):
        model.value("stem_rel")
    with pytest.raises(TypeError):
        model.metadata["author"] = "you"  # type: ignore[index]


def test_what_a_value_is_computed_from(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    found = model.ancestors("joined")
    assert found == {"joined", "inner", "pooled", "stem_relu", "stem", "image", "w1", "b1", "w2", "b2"}
    assert model.ancestors("image") == {"image"}
    assert ("", "Gemm") in model.operators
    assert all(domain == "" for domain, _ in model.operators)


def test_a_new_graph_keeps_what_is_known(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn, size=16)
    renamed = onnx.GraphProto()
    renamed.CopyFrom(model.graph)
    renamed.name = "other"
    made = model.with_graph(renamed, metadata={"key": "value"})
    assert made.graph.name == "other"
    assert made.overrides == model.overrides
    assert made.metadata == {"key": "value"}
    assert model.metadata == {}
    assert model.graph.name == "cnn"


# --- card options ---------------------------------------------------------------------------------------------------


def test_overrides_are_checked(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn, size=16, order="RGB", output="logits", scores="logits")
    assert model.overrides["size"] == (16, 16)
    assert onnxray.load(model, order="BGR").overrides == {**model.overrides, "order": "BGR"}
    assert onnxray.load(cnn, size=None).overrides == {}
    with pytest.raises(CardError, match="'size'"):
        onnxray.load(cnn, siez=224)
    with pytest.raises(CardError, match="scores in the options must be one of"):
        onnxray.load(cnn, scores="percent")
    with pytest.raises(CardError, match="output in the options must be a text"):
        onnxray.load(cnn, output=3)


# --- what is no model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no model\n", "a text file"),
        ('{"größe": 3}\n'.encode(), "a text file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX model"),
        (b"PK\x03\x04" + bytes(range(100)), "not an ONNX model"),
        (b"\x08\x08", "no graph in it"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as raised:
        onnxray.load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x08", bytes(range(256))])
def test_bytes_that_are_no_models(content: bytes) -> None:
    with pytest.raises(ModelError, match="bytes given"):
        onnxray.load(content)


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        onnxray.load(tmp_path)
    with pytest.raises(ModelError, match="no such model file"):
        onnxray.load(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match="cannot read the model"):
        onnxray.load("a\0b.onnx")
    with pytest.raises(ModelError, match=r"cannot read the model|no such model file"):
        onnxray.load("x" * 5000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ModelError, match="not a regular file"):
            onnxray.load(tmp_path / "pipe")


@pytest.mark.parametrize("source", [None, 3, 2.5, ["m.onnx"], object()])
def test_things_that_are_no_source(source: object) -> None:
    with pytest.raises(ModelError, match="cannot be loaded from"):
        onnxray.load(source)  # type: ignore[arg-type]


def test_empty_protos() -> None:
    with pytest.raises(ModelError, match="no graph in it"):
        onnxray.load(onnx.ModelProto())
    with pytest.raises(ModelError, match="no graph in it"):
        onnxray.load(onnx.ModelProto(graph=onnx.GraphProto()))


def test_a_proto_too_large_to_serialise(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "_MOST_PROTO_BYTES", 100)
    with pytest.raises(ModelError, match="too large for one protobuf"):
        onnxray.load(cnn)


# --- damage ---------------------------------------------------------------------------------------------------------


def survive(data: bytes) -> None:
    """Either a model that can be looked at, or one line that says why not; never anything else."""
    message = ""
    try:
        inspect(onnxray.load(data))
    except OnnxrayError as error:
        message = str(error)
    assert "\n" not in message


def test_truncated_anywhere(cnn: onnx.ModelProto) -> None:
    data = cnn.SerializeToString()
    for length in range(0, len(data), max(len(data) // 400, 1)):
        survive(data[:length])


SUBGRAPHS = """
g (float[2, 3] x) => (float[2, 3] y)
{
  total = ReduceSum <keepdims = 0> (x)
  positive = Greater (total, zero)
  chosen = If (positive) <then_branch = yes () => (float[2, 3] a) { a = Add (x, one) },
                          else_branch = no () => (float[2, 3] b) { b = Neg (x) }>
  back = Reshape (chosen, shape)
  y = Transpose <perm = [1, 0]> (back)
}
"""


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes(parse: Parse, cnn: onnx.ModelProto, seed: int) -> None:
    branches = parse(SUBGRAPHS, zero=np.float32(0), one=np.float32(1), shape=np.array([3, 2]))
    rng = np.random.default_rng(seed)
    for proto in (cnn, branches):
        data = np.frombuffer(proto.SerializeToString(), np.uint8)
        for _ in range(80):
            damaged = data.copy()
            places = rng.integers(0, len(data), rng.integers(1, 6))
            damaged[places] = rng.integers(0, 256, len(places))
            survive(damaged.tobytes())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Relu (nowhere)", "reads the value 'nowhere', which is defined nowhere"),
        ("a = Relu (b) b = Relu (a) y = Add (a, x)", "depends on its own output"),
        ("y = Relu (x) y = Neg (x)", "'y' of the model is defined twice"),
        ("x = Relu (y) y = Neg (x)", "'x' of the model is defined twice"),
        ("z = Relu (x)", "output 'y' is computed nowhere"),
        ("y = Relu (x, x)", "has 2 inputs and 1 outputs"),
        ("y = Concat (x, x)", "lacks its attribute 'axis'"),
        ('y = Concat <axis = "one"> (x, x)', "is of type STRING, not INT"),
        ("y = Relu <slope = 3> (x)", "has an attribute 'slope', which this operator does not have"),
        ("y = my.domain.Relu (x)", "does not state the version"),
    ],
)
def test_graphs_that_contradict_themselves(parse: Parse, body: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        onnxray.load(parse(f"g (float[2, 2] x) => (float[2, 2] y) {{ {body} }}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": [2, 2]}, "holds 12 bytes, its shape"),
        ({"dims": [1 << 40, 1 << 40]}, "its shape"),
        ({"dims": [-3]}, "negative size"),
        ({"data_type": 0}, "no element type"),
        ({"data_type": 99}, "the element type 99"),
        ({"name": ""}, "has no name"),
        ({"raw_data": b"", "float_data": [1.0, 2.0]}, "holds 0 bytes"),
    ],
)
def test_tensors_that_contradict_themselves(parse: Parse, change: dict[str, object], message: str) -> None:
    proto = parse("g (float[3] x) => (float[3] y) { y = Add (x, w) }", w=np.ones(3, np.float32))
    tensor = proto.graph.initializer[0]
    for name, value in change.items():
        tensor.ClearField(name)
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    with pytest.raises(ModelError, match=message):
        onnxray.load(proto)


def test_typed_data_of_the_wrong_length(parse: Parse) -> None:
    proto = parse("g (float[3] x) => (float[3] y) { y = Add (x, w) }")
    proto.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], float_data=[1, 2]))
    with pytest.raises(ModelError, match="holds 2 numbers"):
        onnxray.load(proto)


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "INT8", "INT4", "UINT4", "BOOL", "DOUBLE", "UINT64", "STRING"])
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_of_every_kind_are_read(kind: str, raw: bool) -> None:
    if kind == "STRING" and raw:
        pytest.skip("strings have no raw form")
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(kind))
    array = np.array(["a", "b", "c"], object) if kind == "STRING" else np.array([1, 0, 1]).astype(dtype)
    if raw:
        tensor = numpy_helper.from_array(array, "w")
    else:
        tensor = helper.make_tensor("w", TensorProto.DataType.Value(kind), [3], list(array))
    proto = one_node(helper.make_node("Relu", ["x"], ["y"]), opset=21)
    proto.graph.initializer.append(tensor)
    stored = onnxray.load(proto).constant("w")
    assert stored is not None
    assert_array_equal(stored, array)


def test_names_that_are_no_text(cnn: onnx.ModelProto) -> None:
    data = cnn.SerializeToString()
    with pytest.raises(ModelError, match="not UTF-8"):
        onnxray.load(data.replace(b"pooled", b"p\xff\xfe\xfd\xfcd"))
    proto = onnx.ModelProto()
    proto.CopyFrom(cnn)
    proto.doc_string = "written in Latin-1: XXXX"
    proto.graph.doc_string = "XXXX"
    proto.graph.node[0].doc_string = "XXXX"
    model = onnxray.load(proto.SerializeToString().replace(b"XXXX", b"\xe4\xf6\xfc\xdf"))
    assert len(model.layers) == len(onnxray.load(cnn).layers)


def test_nodes_in_any_order(cnn: onnx.ModelProto) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(cnn)
    order = np.random.default_rng(0).permutation(len(proto.graph.node))
    nodes = [cnn.graph.node[i] for i in order]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    model = onnxray.load(proto)
    x = np.random.default_rng(1).random((2, 3, 16, 16), np.float32)
    assert apart(run(model, {"image": x})["logits"], run(onnxray.load(cnn), {"image": x})["logits"]) <= ROUNDING


def test_a_long_graph_backwards() -> None:
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(4000)][::-1]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("v4000", TensorProto.FLOAT, [1])],
    )
    model = onnxray.load(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert [n.output[0] for n in model.graph.node] == [f"v{i}" for i in range(1, 4001)]


def test_sizes_of_minus_one(parse: Parse) -> None:
    proto = parse("g (float[1, 3] x) => (float[1, 2] y) { s = Slice (x, a, b, c) y = Relu (s) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = -1
    for name, values in (("a", [0]), ("b", [2]), ("c", [1])):
        proto.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    model = onnxray.load(proto)
    assert model.inputs[0].shape == (None, 3)
    assert run(model, {"x": np.ones((5, 3), np.float32)})["y"].shape == (5, 2)


# --- declared shapes ------------------------------------------------------------------------------------------------


def test_stale_declarations_are_not_believed(parse: Parse) -> None:
    proto = parse(
        """g (float[N, 3, 8, 8] x) => (float[1, 7] y)
        { r = Relu (x) f = Flatten (r) y = Identity (f) }"""
    )
    proto.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 3, 4, 4]))
    proto.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT16, [9]))
    model = onnxray.load(proto)
    assert model.value("r").shape == ("N", 3, 8, 8)
    assert model.value("f").shape == ("N", 192)
    assert model.value("f").dtype == np.float32
    assert model.outputs[0].shape == ("N", 192)
    assert run(model, {"x": np.ones((2, 3, 8, 8), np.float32)})["y"].shape == (2, 192)


def test_names_of_sizes_are_kept(parse: Parse) -> None:
    proto = parse(
        """g (float[batch, time, 4] x, int64[2] s) => (float[batch, classes] y, float[rows, columns] z)
        { m = ReduceMean <axes = [1], keepdims = 0> (x) y = Relu (m) z = Reshape (x, s) }"""
    )
    model = onnxray.load(proto)
    assert model.value("m").shape == ("batch", 4)
    assert model.outputs[0].shape == ("batch", 4)
    assert model.outputs[1].shape == ("rows", "columns")


def test_sizes_that_nobody_named_are_unknown(parse: Parse) -> None:
    model = onnxray.load(parse("g (float[N] x) => (int64[1, k] y) { n = NonZero (x) y = Identity (n) }"))
    assert model.value("n").shape == (1, None)
    assert model.outputs[0].shape == (1, "k")


# --- old and new ----------------------------------------------------------------------------------------------------


def test_newer_than_what_is_installed() -> None:
    proto = one_node(helper.make_node("Relu", ["x"], ["y"]), opset=onnx.defs.onnx_opset_version() + 1)
    with pytest.raises(OpsetError, match="upgrade onnx and onnxruntime"):
        onnxray.load(proto)
    proto = one_node(helper.make_node("Relu", ["x"], ["y"]))
    proto.ir_version = onnx.IR_VERSION + 1
    with pytest.raises(OpsetError, match="IR version"):
        onnxray.load(proto)


def test_weights_listed_as_inputs(parse: Parse) -> None:
    """As every model before IR 4 has them: then they are constants. Later, whoever lists them lets them be fed."""
    proto = parse("g (float[2, 3] x, float[3] w) => (float[2, 3] y) { y = Mul (x, w) }", w=np.full(3, 2, np.float32))
    x = np.ones((2, 3), np.float32)
    proto.ir_version = 3
    old = onnxray.load(proto)
    assert [v.name for v in old.inputs] == ["x"]
    assert old.constant("w") is not None
    assert_array_equal(run(old, {"x": x})["y"], 2 * x)
    proto.ir_version = 8
    new = onnxray.load(proto)
    assert [v.name for v in new.inputs] == ["x"]
    assert new.constant("w") is None
    assert_array_equal(run(new, {"x": x})["y"], 2 * x)
    assert_array_equal(run(new, {"x": x, "w": np.full(3, 5, np.float32)})["y"], 5 * x)


X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
C = np.array([0.5, 1, 2], np.float32)
PER_CHANNEL = C[:, None, None]
MATRIX = np.outer(C, [1, 2, 3, 4]).astype(np.float32)
NORMAL = (X - PER_CHANNEL) / PER_CHANNEL**0.5 * PER_CHANNEL + PER_CHANNEL

# Operator, opsets, attributes, further inputs, what opset 6 and older say the result is.
ANCIENT: list[tuple[str, range, dict[str, object], list[np.ndarray], np.ndarray]] = [
    ("Add", range(1, 7), {"broadcast": 1, "axis": 1}, [C], X + PER_CHANNEL),
    ("Sub", range(1, 7), {"broadcast": 1, "axis": -3}, [C], X - PER_CHANNEL),
    ("Mul", range(1, 7), {"broadcast": 1}, [np.arange(4, dtype=np.float32)], X * np.arange(4)),
    ("Div", range(1, 7), {"broadcast": 1, "axis": 1}, [MATRIX], X / MATRIX[..., None]),
    ("Add", range(1, 7), {}, [X], X + X),
    ("Pow", range(1, 7), {"broadcast": 1}, [np.float32(2)], X**2),
    ("Greater", range(1, 7), {"broadcast": 1, "axis": 1}, [C], X > PER_CHANNEL),
    ("PRelu", range(1, 7), {}, [C], np.where(X > 0, X, X * PER_CHANNEL)),
    ("PRelu", range(1, 7), {}, [np.array([0.5], np.float32)], np.where(X > 0, X, X * 0.5)),
    ("BatchNormalization", range(1, 7), {"is_test": 1, "epsilon": 0.0}, [C, C, C, C], NORMAL),
    ("Reshape", range(1, 5), {"shape": [2, 48]}, [], X.reshape(2, 48)),
    ("Reshape", range(5, 7), {}, [np.array([6, -1])], X.reshape(6, 16)),
    ("Dropout", range(1, 7), {"is_test": 1, "ratio": 0.9}, [], X),
    ("Cast", range(1, 6), {"to": "INT32"}, [], X.astype(np.int32)),
    ("Concat", range(1, 4), {}, [X], np.concatenate([X, X], 1)),
    ("Pad", range(1, 2), {"paddings": [0, 0, 1, 0, 0, 0, 0, 2]}, [], np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 2)))),
    ("Pad", range(2, 7), {"pads": [0, 0, 1, 0, 0, 0, 0, 2]}, [], np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 2)))),
    ("Split", range(1, 2), {"axis": 2}, [np.array([1, 3], np.float32)], X[:, :, :1]),
    ("Upsample", range(1, 7), {"height_scale": 2.0, "width_scale": 3.0}, [], X.repeat(2, 2).repeat(3, 3)),
    ("Selu", range(1, 6), {}, [], 1.0507 * np.where(X > 0, X, 1.6732 * (np.exp(X) - 1))),
    ("GlobalLpPool", range(1, 2), {"p": 2.0}, [], np.sqrt((X**2).sum((2, 3), keepdims=True))),
    ("Tile", range(1, 6), {}, [np.array([3], np.float32), np.array([1], np.float32)], np.tile(X, (1, 3, 1, 1))),
    ("Relu", range(1, 7), {}, [], np.maximum(X, 0)),
    ("Sum", range(1, 7), {}, [X, X], 3 * X),
]  # fmt: skip
CONSUMED = {"Add", "Sub", "Mul", "Div", "Relu", "Sum", "Reshape", "Dropout", "BatchNormalization", "PRelu", "Selu"}


@pytest.mark.parametrize(
    ("operator", "opset", "given", "others", "expected"),
    [
        pytest.param(op, v, given, others, expected, id=f"{op}-{i}-opset{v}")
        for i, (op, versions, given, others, expected) in enumerate(ANCIENT)
        for v in versions
    ],
)
def test_older_than_opset_7(
    operator: str, opset: int, given: dict[str, object], others: list[np.ndarray], expected: np.ndarray
) -> None:
    if operator in CONSUMED and opset < (5 if operator == "Reshape" else 6):
        given = {**given, "consumed_inputs": [0]}
    stored = [numpy_helper.from_array(np.asarray(a), f"c{i}") for i, a in enumerate(others)]
    outputs = ["y", "rest"] if operator == "Split" else ["y"]
    # Behind another node, so that the number of axes has to be inferred.
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node(operator, ["same", *(t.name for t in stored)], outputs, name="the_one", **given),
    ]
    dtype = expected.dtype if expected.dtype.kind in "bi" else np.dtype(np.float32)
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)]
        + [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(dtype), None)],
        stored,
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)
    model = onnxray.load(proto)
    assert model.opset == 7
    assert_allclose(run(model, {"x": X})["y"], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "given", "others", "reason"),
    [
        ("Cast", {"to": "FLOAT128"}, 0, "no element type 'FLOAT128'"),
        ("LpPool", {"p": 2.5, "kernel_shape": [2, 2]}, 0, "the norm of order 2.5"),
        ("Tile", {}, 2, "is computed"),
    ],
)
def test_what_cannot_be_upgraded_is_named(operator: str, given: dict[str, object], others: int, reason: str) -> None:
    names = [f"c{i}" for i in range(others)]
    made = helper.make_graph(
        [helper.make_node(operator, ["x", *names], ["y"], name="old_one", **given)],
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1] * 4) for n in ("x", *names)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    with pytest.raises(OpsetError, match=f"{operator!r}.*'old_one'.*{reason}"):
        onnxray.load(helper.make_model(made, opset_imports=[helper.make_opsetid("", 1)], ir_version=3))


def test_without_a_stated_opset(parse: Parse) -> None:
    proto = one_node(helper.make_node("Relu", ["x"], ["y"]))
    del proto.opset_import[:]
    with pytest.raises(ModelError, match="opset_import"):
        onnxray.load(proto)
    proto.ir_version = 2  # which knew no opsets: the first one is meant
    assert onnxray.load(proto).opset == 7


# --- functions ------------------------------------------------------------------------------------------------------

FUNCTIONS = """
<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
g (float[N, 3] x) => (float[N, 3] y)
{
  once = f.outer <alpha = 0.5> (x)
  y = f.outer <alpha = 2.0> (once)
}
<domain: "f", opset_import: ["" : 17, "f" : 1]>
outer <alpha> (a) => (b) { t = f.inner (a) b = LeakyRelu <alpha: float = @alpha> (t) }
<domain: "f", opset_import: ["" : 17]>
inner (a) => (b) { two = Constant <value = float {2.0}> () t = Mul (a, two) b = Sub (t, two) }
"""


def test_functions_are_inlined(parse: Parse) -> None:
    model = onnxray.load(parse(FUNCTIONS))
    assert not model.proto.functions
    assert {n.domain for n in model.graph.node} <= {"", "ai.onnx"}

    def leaky(x: np.ndarray, alpha: float) -> np.ndarray:
        return np.where(x > 0, x, alpha * x)

    x = np.array([[0.3, 1.5, -2]], np.float32)
    assert_allclose(run(model, {"x": x})["y"], leaky(2 * leaky(2 * x - 2, 0.5) - 2, 2.0), rtol=1e-6)


def test_functions_that_call_themselves(parse: Parse) -> None:
    proto = parse(FUNCTIONS.replace("t = Mul (a, two)", "t = f.outer <alpha = 1.0> (a)"))
    with pytest.raises(ModelError, match="calls itself"):
        onnxray.load(proto)


def test_functions_that_grow_beyond_measure(parse: Parse) -> None:
    """Ten calls of ten calls of ..., twenty deep."""
    text = ['<ir_version: 8, opset_import: ["" : 17, "f" : 1]> g (float[1] x) => (float[1] y) { y = f.f0 (x) }']
    for i in range(20):
        calls = " ".join(f"v{k + 1} = f.f{i + 1} (v{k})" for k in range(10))
        text.append(f'<domain: "f", opset_import: ["" : 17, "f" : 1]> f{i} (v0) => (v10) {{ {calls} }}')
    text.append('<domain: "f", opset_import: ["" : 17]> f20 (a) => (b) { b = Relu (a) }')
    with pytest.raises(ModelError, match="expand to more than"):
        onnxray.load(parse("\n".join(text)))


def test_the_limit_of_inlining_counts_nodes(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_MOST_INLINED_NODES", 12)
    onnxray.load(parse(FUNCTIONS))
    monkeypatch.setattr(prepare, "_MOST_INLINED_NODES", 11)
    with pytest.raises(ModelError, match="expand to more than 11 nodes"):
        onnxray.load(parse(FUNCTIONS))


# --- operators of other domains -------------------------------------------------------------------------------------


def test_an_operator_that_nobody_knows(parse: Parse) -> None:
    proto = parse(
        """<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
        g (float[N, 3] x) => (float[N, 3] y) { a = Relu (x) b = my.domain.Secret <how = 3> (a) y = Neg (b) }"""
    )
    model = onnxray.load(proto)
    report = inspect(model)
    assert [layer.op for layer in report.layers] == ["Relu", "my.domain.Secret", "Neg"]
    assert_array_equal(onnxray.activations(model, -np.ones((1, 3), np.float32), "a")["a"], np.zeros((1, 3)))
    with pytest.raises(ModelError, match=r"'Secret' of the domain 'my\.domain'") as raised:
        run(model, {"x": np.ones((1, 3), np.float32)})
    assert "\n" not in str(raised.value)


def test_operators_of_onnx_runtime_are_typed(parse: Parse) -> None:
    proto = parse(
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        g (float[N, 4] x) => (float[N, 4] y)
        { a = com.microsoft.QuickGelu (x) b = Relu (a) c = com.microsoft.FastGelu (b) y = Neg (c) }"""
    )
    model = onnxray.load(proto)
    assert [str(model.value(n)) for n in "abc"] == [f"{n}: float32 [N, 4]" for n in "abc"]
    head, tail = onnxray.split(model, "b")
    assert str(head.value("a")) == "a: float32 [N, 4]"
    assert str(tail.value("c")) == "c: float32 [N, 4]"


# --- element types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float", "double", "float16", "bfloat16"])
def test_floats_of_every_width(parse: Parse, kind: str) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(
        TensorProto.DataType.Value({"float": "FLOAT", "double": "DOUBLE"}.get(kind, kind.upper()))
    )
    text = f"g ({kind}[N, 3] x) => ({kind}[N, 3] y) {{ a = Identity (x) y = Identity (a) }}"
    model = onnxray.load(parse(text))
    x = np.array([[1.5, -2, 0.25]])
    got = onnxray.activations(model, x.astype(dtype), ["x", "a", "y"])
    for name in ("x", "a", "y"):
        assert got[name].dtype == dtype
        assert_array_equal(got[name].astype(np.float64), x)
    from_float32 = onnxray.activations(model, x.astype(np.float32), "y")["y"]
    assert from_float32.dtype == dtype


def test_quantised_models(parse: Parse) -> None:
    proto = parse(
        """g (float[N, 2] x) => (float[N, 3] y)
        {
          xq = QuantizeLinear (x, xs, xz)
          xd = DequantizeLinear (xq, xs, xz)
          wd = DequantizeLinear (wq, ws, wz)
          y = MatMul (xd, wd)
        }""",
        xs=np.float32(0.1),
        xz=np.uint8(10),
        wq=np.array([[10, -20, 30], [5, 5, -5]], np.int8),
        ws=np.float32(0.5),
        wz=np.int8(0),
    )
    model = onnxray.load(proto)
    assert [n.op_type for n in model.graph.node] == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]
    x = np.array([[0.5, 1.0]], np.float32)
    assert_allclose(run(model, {"x": x})["y"], [[5, -2.5, 5]], rtol=1e-6)
    layers = {layer.output: layer for layer in model.layers}
    assert layers["y"].params == 6
    assert inspect(model).params == 6


# --- saving ---------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_again(tmp_path: Path, cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    path = onnxray.save(model, tmp_path / "new folder" / "m.onnx")
    assert path == model.save(path)
    assert onnxray.load(path).proto == model.proto
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert [p.name for p in path.parent.iterdir()] == ["m.onnx"]


def test_saving_where_it_cannot_be(tmp_path: Path, cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "m.onnx", Path("a\0b")):
        with pytest.raises(OutputError, match="cannot write"):
            model.save(place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# --- editing --------------------------------------------------------------------------------------------------------


def test_shapes_are_inferred_once_and_when_asked_for(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    inferred = []
    true = model_module.infer_shapes
    monkeypatch.setattr(model_module, "infer_shapes", lambda proto: inferred.append(proto) or true(proto))
    with onnxray.load(cnn).edited() as edit:
        del edit.graph.value_info[:]
    made = edit.model
    assert [v.name for v in made.inputs] == ["image"]
    assert made.producer("logits") is not None
    assert made.content_key
    assert run(made, {"image": np.zeros((1, 3, 16, 16), np.float32)})["logits"].shape == (1, 5)
    assert inferred == []
    assert made.value("features").shape is not None
    assert made.outputs[0].shape is not None
    assert len(made.graph.value_info)
    assert len(inferred) == 1


def test_an_edit_changes_a_copy(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    before = model.proto.SerializeToString()
    with model.edited(metadata={"key": "value"}, opset=18) as edit:
        edit.graph.node.pop()
    assert model.proto.SerializeToString() == before
    assert len(edit.model.graph.node) == len(model.graph.node) - 1
    assert edit.model.metadata["key"] == "value"
    assert edit.model.opset == 18


@pytest.mark.parametrize("opset", [None, 18])
def test_a_consumed_model_is_what_an_edited_one_is(cnn: onnx.ModelProto, opset: int | None) -> None:
    """With the same graph: nodes, weights, metadata, versions; only the order of the weights may be another."""
    made = []
    for way in ("edited", "consumed"):
        model = onnxray.load(cnn)
        graph = onnx.GraphProto()
        graph.CopyFrom(model.untyped.graph)
        del graph.initializer[:]
        added = onnx.numpy_helper.from_array(np.ones(2, np.float32), "added")
        graph.initializer.append(added)
        with getattr(model, way)(graph, metadata={"key": "value"}, opset=opset) as edit:
            if way == "edited":
                edit.graph.initializer.extend(model.untyped.graph.initializer)
        proto = edit.model.untyped
        stored = sorted(t.SerializeToString(deterministic=True) for t in proto.graph.initializer)
        del proto.graph.initializer[:]
        made.append((stored, proto.SerializeToString(deterministic=True)))
    assert made[0] == made[1]


def test_an_edit_that_fails_makes_no_model(cnn: onnx.ModelProto) -> None:
    edit = onnxray.load(cnn).edited()
    with pytest.raises(ZeroDivisionError), edit:
        raise ZeroDivisionError
    assert not hasattr(edit, "model")


def test_the_key_of_the_content_does_not_depend_on_when_it_is_asked_for(cnn: onnx.ModelProto) -> None:
    early, late = (onnxray.load(cnn).with_graph(onnxray.load(cnn).graph) for _ in range(2))
    key = early.content_key
    assert late.values
    assert late.content_key == key
    other = onnxray.load(cnn)
    with other.edited() as edit:
        edit.graph.node[0].name += "_"
    assert edit.model.content_key != key


def test_many_threads_infer_the_shapes_once(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    inferred = []
    true = model_module.infer_shapes
    monkeypatch.setattr(model_module, "infer_shapes", lambda proto: inferred.append(proto) or true(proto))
    model = onnxray.load(cnn)
    made = model.with_graph(model.graph)
    with ThreadPoolExecutor(8) as pool:
        shapes = set(pool.map(lambda _: made.value("features").shape, range(16)))
    assert len(shapes) == 1
    assert len(inferred) == 1


def test_what_is_an_output_is_part_of_the_content(cnn: onnx.ModelProto) -> None:
    """Sessions are kept by content: a value that is declared inside one graph and an output of another tells them apart."""
    model = onnxray.load(cnn)
    stem, inner = (onnxray.expose(model, [name, "logits"], only=True) for name in ("stem", "inner"))
    assert stem.content_key != inner.content_key
    value = next(v for v in model.graph.value_info if v.name == "stem")
    inside, outside = onnx.ModelProto(), onnx.ModelProto()
    for proto in (inside, outside):
        proto.CopyFrom(model.proto)
        del proto.graph.value_info[:]
    inside.graph.value_info.append(value)
    outputs = [*outside.graph.output]
    del outside.graph.output[:]
    outside.graph.output.extend([value, *outputs])
    assert Model(inside).content_key != Model(outside).content_key


def test_files_of_other_content_have_other_keys(tmp_path: Path, cnn: onnx.ModelProto) -> None:
    """Models of files are known by their files' hash, those made of them by their own content."""
    path = tmp_path / "m.onnx"
    onnx.save(cnn, path)
    first = onnxray.load(path)
    assert onnxray.load(path, mean=0.5).content_key == first.content_key
    cnn.graph.node[0].name += "_"
    onnx.save(cnn, path)
    assert onnxray.load(path).content_key != first.content_key
    with first.edited() as edit:
        edit.graph.node[0].name += "_"
    assert edit.model.content_key != first.content_key
