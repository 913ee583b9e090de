"""Weights outside the model file: confined, complete, memory-mapped when large."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.errors import ExternalDataError, OutputError
from onnxray.engine.inference.session import run, session
from onnxray.engine.proto import external_data as external
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]

WEIGHTS = np.arange(4096 * 4, dtype=np.float32).reshape(4096, 4) / 4096
BIAS = np.array([1, 2, 3, 4], np.float32)
X = np.random.default_rng(0).random((2, 4096), np.float32)
EXPECTED = X @ WEIGHTS + BIAS


@pytest.fixture
def outside(tmp_path: Path, parse: Parse) -> Path:
    """A dense layer whose weights lie in `w.bin`, 64 bytes from its beginning."""
    proto = parse("g (float[N, 4096] x) => (float[N, 4] y) { m = MatMul (x, w) y = Add (m, b) }", b=BIAS)
    (tmp_path / "w.bin").write_bytes(bytes(64) + WEIGHTS.tobytes())
    proto.graph.initializer.append(pointer("w", WEIGHTS.shape, location="w.bin", offset=64, length=WEIGHTS.nbytes))
    onnx.save(proto, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def pointer(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT, **entries: object) -> TensorProto:
    tensor = TensorProto(name=name, dims=shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def repoint(path: Path, **entries: object) -> None:
    proto = onnx.load(path, load_external_data=False)
    known = {e.key: e.value for e in proto.graph.initializer[1].external_data}
    proto.graph.initializer[1].CopyFrom(pointer("w", WEIGHTS.shape, **{**known, **entries}))
    onnx.save(proto, path)


def test_small_data_is_read_in(outside: Path) -> None:
    model = onnxray.load(outside)
    assert model.folder is None
    assert not any(map(external.is_external, model.graph.initializer))
    (outside.parent / "w.bin").unlink()
    np.testing.assert_allclose(run(model, {"x": X})["y"], EXPECTED, rtol=1e-5)
    assert_array_equal(model.constant("w"), WEIGHTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1 << 30, 1000])
def test_the_hash_is_of_the_weights_as_well(outside: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(external, "INLINE_LIMIT", limit)
    file, data = hashlib.sha256(outside.read_bytes()).hexdigest(), outside.parent / "w.bin"
    model = onnxray.load(outside)
    first = model.sha256
    assert model.file_sha256 == file != first
    assert pickle.loads(pickle.dumps(model)).sha256 == first
    os.utime(data, (0, 0))
    assert onnxray.load(outside).sha256 == first
    data.write_bytes(bytes(64) + WEIGHTS[::-1].tobytes())
    assert onnxray.load(outside).sha256 != first


def test_large_data_stays_outside(outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = onnxray.load(outside)
    expected = session(whole, threads=1).run({"x": X})["y"]
    monkeypatch.setattr(external, "INLINE_LIMIT", 1000)
    model = onnxray.load(outside)
    assert model.folder == outside.parent.resolve()
    assert [external.is_external(t) for t in model.graph.initializer] == [False, True]
    weights = model.constant("w")
    assert isinstance(weights, np.memmap)
    assert not weights.flags.writeable
    assert_array_equal(weights, WEIGHTS)
    # Weights that lie elsewhere may be added up in another order, and so may the halves of a network.
    most = float(np.abs(expected).max())
    assert apart(session(model, threads=1).run({"x": X})["y"], expected, most) <= ROUNDING
    # Whatever is made of it finds the data as well.
    assert_array_equal(onnxray.activations(model, X, ["m", "w"], threads=1)["w"], WEIGHTS)
    head, tail = onnxray.split(model, "m")
    assert tail.folder == head.folder == model.folder
    between = session(head, threads=1).run({"x": X})
    assert apart(session(tail, threads=1).run(between)["y"], expected, most) <= ROUNDING
    assert {layer.output: layer.params for layer in model.layers} == {"m": 16384, "y": 4}
    # Saved beside data of its own.
    saved = model.save(tmp_path / "elsewhere" / "copy.onnx")
    assert sorted(p.name for p in saved.parent.iterdir()) == ["copy.onnx", "copy.onnx.data"]
    again = onnxray.load(saved)
    assert again.folder == saved.parent.resolve()
    assert apart(session(again, threads=1).run({"x": X})["y"], expected, most) <= ROUNDING
    onnx.checker.check_model(str(saved))
    offsets = [
        int(e.value)
        for t in onnx.load(saved, load_external_data=False).graph.initializer
        for e in t.external_data
        if e.key == "offset"
    ]
    assert all(offset % 4096 == 0 for offset in offsets)


def test_sessions_notice_that_the_data_changed(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "INLINE_LIMIT", 1000)
    before = onnxray.load(outside).content_key
    assert onnxray.load(outside).content_key == before
    data = outside.parent / "w.bin"
    data.write_bytes(data.read_bytes()[:-4] + bytes(4))
    os.utime(data, ns=(1, 1))
    assert onnxray.load(outside).content_key != before


def test_saving_over_the_data_that_is_read(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "INLINE_LIMIT", 1000)
    saved = onnxray.load(outside).save(outside.parent / "copy.onnx")
    with pytest.raises(OutputError, match="holds the weights that the model reads"):
        onnxray.load(saved).save(saved)


def test_small_arguments_are_seen(tmp_path: Path, parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape of a Reshape is needed when the graph is analysed, wherever it is stored."""
    monkeypatch.setattr(external, "INLINE_LIMIT", 1000)
    proto = parse("g (float[N, 4096] x) => (float[N, 2, 2] y) { m = MatMul (x, w) y = Reshape (m, s) }")
    (tmp_path / "d").write_bytes(np.array([0, 2, 2]).tobytes() + WEIGHTS.tobytes())
    proto.graph.initializer.append(pointer("s", (3,), TensorProto.INT64, location="d", length=24))
    proto.graph.initializer.append(pointer("w", WEIGHTS.shape, location="d", offset=24))
    onnx.save(proto, tmp_path / "m.onnx")
    model = onnxray.load(tmp_path / "m.onnx")
    assert model.folder is not None
    assert model.value("y").shape == ("N", 2, 2)


def test_data_of_nodes_and_branches_is_read_in(tmp_path: Path, parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "INLINE_LIMIT", 20_000)
    proto = parse(
        """g (float[3] x, bool c) => (float[3] y)
        {
          k = Constant <value = float[3] {0, 0, 0}> ()
          s = Add (x, k)
          y = If (c) <then_branch = t () => (float[3] a) <float[3] w = {0, 0, 0}> { a = Add (s, w) },
                      else_branch = e () => (float[3] b) { b = Neg (s) }>
        }"""
    )
    data = np.arange(6, dtype=np.float32)
    (tmp_path / "d").write_bytes(data.tobytes() + bytes(40_000))
    proto.graph.node[0].attribute[0].t.CopyFrom(pointer("", (3,), location="d", length=12))
    branch = next(a for a in proto.graph.node[2].attribute if a.name == "then_branch").g
    branch.initializer[0].CopyFrom(pointer("w", (3,), location="d", offset=12, length=12))
    proto.graph.initializer.append(pointer("unused", (10_000,), location="d", offset=24, length=40_000))
    onnx.save(proto, tmp_path / "m.onnx")
    model = onnxray.load(tmp_path / "m.onnx")
    assert [t.name for t in external.all_tensors(model.proto) if external.is_external(t)] == ["unused"]
    got = run(model, {"x": np.ones(3, np.float32), "c": np.array(True)})["y"]
    assert_array_equal(got, 1 + data[:3] + data[3:])


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "INT8", "INT4", "BOOL", "INT64"])
def test_every_kind_is_mapped(tmp_path: Path, kind: str) -> None:
    number = TensorProto.DataType.Value(kind)
    array = np.array([[1, 0, 1], [0, 1, 1]]).astype(helper.tensor_dtype_to_np_dtype(number))
    (tmp_path / "d").write_bytes(b"skip" + numpy_helper.from_array(array).raw_data)
    tensor = pointer("t", (2, 3), number, location="d", offset=4)
    assert_array_equal(external.read(tensor, tmp_path), array)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../w.bin"}, "only files inside the model's own folder"),
        ({"location": "a/../../w.bin"}, "only files inside"),
        ({"location": "a\\..\\..\\w.bin"}, "only files inside"),
        ({"location": "/etc/passwd"}, "only files inside"),
        ({"location": "C:\\w.bin"}, "only files inside"),
        ({"location": "C:w.bin"}, "only files inside"),
        ({"location": "\\\\server\\share\\w.bin"}, "only files inside"),
        ({"location": "\\w.bin"}, "only files inside"),
        ({"location": ""}, "only files inside"),
        ({"location": "w.bin\0"}, "only files inside"),
        ({"location": "missing.bin"}, "there is no such file"),
        ({"location": "."}, "there is no such file"),
        ({"location": "x" * 5000}, "cannot be read|no such file"),
        ({"offset": "65"}, "the copy is not complete"),
        ({"offset": "-4"}, "the copy is not complete"),
        ({"offset": "many"}, "not a number"),
        ({"length": "-1"}, "the copy is not complete"),
        ({"length": "1e3"}, "not a number"),
        ({"length": "100"}, r"with 100 bytes, but its shape \[4096, 4\] needs 65536"),
    ],
)
def test_places_that_are_refused(outside: Path, entries: dict[str, str], message: str) -> None:
    (outside.parent.parent / "w.bin").write_bytes((outside.parent / "w.bin").read_bytes())
    repoint(outside, **entries)
    with pytest.raises(ExternalDataError, match=message) as raised:
        onnxray.load(outside)
    assert "'w'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_links(outside: Path) -> None:
    data = outside.parent / "w.bin"
    inner = outside.parent / "inner.bin"
    try:
        inner.symlink_to(data)
    except OSError:
        pytest.skip("no symbolic links here")
    repoint(outside, location="inner.bin")
    assert onnxray.load(outside).constant("w") is not None
    far = outside.parent.parent / "far"
    far.mkdir()
    data.rename(far / "w.bin")
    inner.unlink()
    inner.symlink_to(far / "w.bin")
    with pytest.raises(ExternalDataError, match="links to a place outside"):
        onnxray.load(outside)
    inner.unlink()
    (outside.parent / "folder").symlink_to(far)
    repoint(outside, location="folder/w.bin")
    with pytest.raises(ExternalDataError, match="links to a place outside"):
        onnxray.load(outside)


def test_a_model_that_is_a_link_has_its_data_where_it_points(outside: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "m.onnx"
    link.parent.mkdir()
    try:
        link.symlink_to(outside)
    except OSError:
        pytest.skip("no symbolic links here")
    assert onnxray.load(link).constant("w") is not None


def test_bytes_have_no_folder(outside: Path) -> None:
    for source in (outside.read_bytes(), onnx.load(outside, load_external_data=False)):
        with pytest.raises(ExternalDataError, match="load it from its file"):
            onnxray.load(source)
    assert onnxray.load(onnx.load(outside)).constant("w") is not None


def test_data_that_goes_away(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "INLINE_LIMIT", 1000)
    model = onnxray.load(outside)
    (outside.parent / "w.bin").unlink()
    with pytest.raises(ExternalDataError, match="no such file"):
        model.constant("w")


@pytest.mark.slow
def test_more_than_two_gigabytes(tmp_path: Path) -> None:
    """A sparse file: its holes take no place on the disk."""
    rows, columns = 1 << 15, (1 << 14) + 512  # 2.06 GiB of float32
    size = rows * columns * 4
    assert size > 2 << 30
    data = tmp_path / "w.bin"
    with open(data, "wb") as file:
        file.truncate(size)
        if os.stat(data).st_blocks * 512 > size // 2:
            pytest.skip("this file system knows no sparse files")
        for row in (0, rows - 1):
            file.seek(row * columns * 4)
            file.write(np.arange(columns, dtype=np.float32).tobytes())
    made = helper.make_graph(
        [
            helper.make_node("Gather", ["w", "i"], ["row"]),
            helper.make_node("Mul", ["row", "two"], ["twice"]),
            helper.make_node("Neg", ["twice"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", columns])],
        [pointer("w", (rows, columns), location="w.bin"), numpy_helper.from_array(np.float32(2), "two")],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "m.onnx")
    model = onnxray.load(tmp_path / "m.onnx")
    assert model.folder is not None
    weights = model.constant("w")
    assert weights is not None
    assert weights.shape == (rows, columns)
    feeds = {"i": np.array([rows - 1, 1])}
    row = np.arange(columns, dtype=np.float32)
    expected = np.stack([-2 * row, 0 * row])
    assert_array_equal(session(model, threads=1).run(feeds)["y"], expected)
    assert_array_equal(onnxray.activations(model, feeds, "row", threads=1)["row"], np.stack([row, 0 * row]))
    assert_array_equal(onnxray.activations(onnxray.expose(model, "row"), feeds, "y", threads=1)["y"], expected)
    head, tail = onnxray.split(model, "row")
    between = session(head, threads=1).run(feeds)
    assert_array_equal(session(tail, threads=1).run(between)["y"], expected)
    assert tail.save(tmp_path / "tail.onnx").stat().st_size < 100_000
    assert model.layers[0].params == rows * columns


def blobs(tmp_path: Path, outside: Path) -> Path:
    """The model as the Hugging Face cache keeps it: links with names to files with hashes."""
    snapshot = tmp_path / "repo" / "snapshots" / "1" / "onnx"
    snapshot.mkdir(parents=True)
    (tmp_path / "repo" / "blobs").mkdir()
    for name, blob in ((outside, "aa"), (outside.with_name("w.bin"), "bb")):
        name.rename(tmp_path / "repo" / "blobs" / blob)
        os.symlink(f"../../../blobs/{blob}", snapshot / name.name)
    return snapshot / outside.name


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_the_hugging_face_cache(tmp_path: Path, outside: Path) -> None:
    model = onnxray.load(blobs(tmp_path, outside))
    assert_array_equal(onnx.numpy_helper.to_array(model.initializers["w"]), WEIGHTS)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_a_link_out_of_the_hugging_face_cache_is_not_followed(tmp_path: Path, outside: Path) -> None:
    file = blobs(tmp_path, outside)
    (tmp_path / "repo" / "blobs" / "bb").rename(tmp_path / "secret")
    (file.parent / "w.bin").unlink()
    os.symlink(tmp_path / "secret", file.parent / "w.bin")
    with pytest.raises(ExternalDataError, match="outside the model's folder"):
        onnxray.load(file)
