"""Running: feeds, batches, devices, providers, and errors that fit on one line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import onnxray
from onnxray.engine.caches import Kept
from onnxray.engine.errors import ModelError, OnnxrayError, ShapeError, UnknownName
from onnxray.engine.inference import session
from onnxray.engine.inference.session import Session, run
from onnxray.engine.runtime import ort_values, providers
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]

AFFINE = (
    "g (float[N, 3] x, int64[N] k) => (float[N, 3] y, float[N, 3] z) { t = Mul (x, two) y = Add (t, one) z = Neg (x) }"
)


@pytest.fixture
def affine(parse: Parse) -> onnxray.Model:
    return onnxray.load(parse(AFFINE, two=np.float32(2), one=np.float32(1)))


def feeds(n: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.arange(3 * n, dtype=np.float32).reshape(n, 3), "k": np.zeros(n, np.int64)}


# --- feeds and outputs ----------------------------------------------------------------------------------------------


def test_outputs_by_name(affine: onnxray.Model) -> None:
    x = feeds()["x"]
    got = run(affine, feeds())
    assert list(got) == ["y", "z"]
    assert_array_equal(got["y"], 2 * x + 1)
    assert list(run(affine, feeds(), ["z", "y"])) == ["z", "y"]
    assert run(affine, feeds(), []) == {}
    with pytest.raises(UnknownName, match=r"no output named 't'.*onnxray\.expose"):
        run(affine, feeds(), ["t"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": None}, ShapeError, r"also needs the input k: int64 \[N\]"),
        ({"x": None, "k": None}, ShapeError, "also needs the inputs x: .*; k: "),
        ({"xx": np.zeros(3)}, UnknownName, "no model input named 'xx'; nearest: 'x'"),
        ({"x": np.zeros((2, 3), np.int32)}, ShapeError, "was given int32 values: convert them to float32 first"),
        ({"x": np.zeros((2, 3), bool)}, ShapeError, "was given bool values"),
        ({"x": np.full((2, 3), "a")}, ShapeError, "values: convert them to float32 first"),
        ({"x": np.zeros(3, np.float32)}, ShapeError, r"of shape \[3\]: the number of axes differs"),
        ({"x": np.zeros((2, 4), np.float32)}, ShapeError, r"of shape \[2, 4\]: axis 1 differs"),
        ({"x": [[1.0, 2.0, 3.0], [4.0]]}, ShapeError, "rows of different lengths"),
        ({"x": np.full((2, 3), 1e300)}, ShapeError, "float64 values that float32 cannot hold"),
        ({"k": np.full(2, 2**63, np.uint64)}, ShapeError, "uint64 values that int64 cannot hold"),
        ({"k": np.zeros(2, np.float32)}, ShapeError, "was given float32 values: convert them to int64 first"),
        ({"x": None, "y": feeds()["x"]}, UnknownName, "no model input named 'y'"),
    ],
)
def test_feeds_that_do_not_fit(
    affine: onnxray.Model, change: dict[str, object], error: type[OnnxrayError], message: str
) -> None:
    given = {k: v for k, v in {**feeds(), **change}.items() if v is not None}
    with pytest.raises(error, match=message) as raised:
        run(affine, given)
    assert "\n" not in str(raised.value)


def test_feeds_that_are_converted(affine: onnxray.Model) -> None:
    expected = run(affine, feeds())["y"]
    x = feeds()["x"]
    for other in (x.astype(np.float64), x.astype(np.float16), x.tolist(), np.asfortranarray(x), x[:, ::-1][:, ::-1]):
        assert_array_equal(run(affine, {"x": other, "k": np.zeros(2, np.int8)})["y"], expected)
    assert_array_equal(run(affine, {"x": np.array([[np.inf, -np.inf, 0.0]]), "k": [0]})["z"], [[-np.inf, np.inf, 0]])


def test_strings(parse: Parse) -> None:
    model = onnxray.load(parse("g (string[N] x) => (string[N] y) { y = Identity (x) }"))
    for given in (np.array(["ä", "b"]), np.array(["ä", "b"], object), ["ä", "b"]):
        assert run(model, {"x": given})["y"].tolist() == ["ä", "b"]


def test_sequences(parse: Parse) -> None:
    model = onnxray.load(
        parse("g (float[4] x) => (seq(float[2]) s, float[2] first) { s = SplitToSequence (x, two) first = SequenceAt (s, zero) }",
              two=np.array(2), zero=np.array(0))
    )  # fmt: skip
    got = run(model, {"x": np.arange(4, dtype=np.float32)})
    assert [part.tolist() for part in got["s"]] == [[0, 1], [2, 3]]
    assert got["first"].tolist() == [0, 1]


def test_an_empty_batch(affine: onnxray.Model) -> None:
    assert run(affine, feeds(0))["y"].shape == (0, 3)


# --- batches --------------------------------------------------------------------------------------------------------

# Divides by the largest value of all: samples would mix, so the batch size cannot be made dynamic.
MIXING = "g (float[1, 3] x) => (float[1, 3] y) { m = ReduceMax <keepdims = 0> (x) y = Div (x, m) }"
SEPARATE = "g (float[1, 3] x) => (float[1, 3] y) { m = ReduceMax <axes = [1], keepdims = 1> (x) y = Div (x, m) }"


@pytest.mark.parametrize(("text", "is_dynamic"), [(MIXING, False), (SEPARATE, True)])
@pytest.mark.parametrize("count", [1, 2, 5, 32, 33, 70])
def test_more_samples_than_the_model_takes(parse: Parse, text: str, is_dynamic: bool, count: int) -> None:
    made = Session(onnxray.load(parse(text)))
    x = np.random.default_rng(count).random((count, 3), np.float32) + 0.1
    got = made.run({"x": x})["y"]
    assert (made._dynamic is not None) is is_dynamic
    singles = np.concatenate([made.run({"x": x[i : i + 1]})["y"] for i in range(count)])
    assert_array_equal(got, singles)
    assert_allclose(got, x / x.max(1, keepdims=True), rtol=1e-6)


def test_a_fixed_batch_of_several(parse: Parse) -> None:
    made = Session(onnxray.load(parse(MIXING.replace("[1, 3]", "[2, 3]"))))
    x = np.arange(1, 19, dtype=np.float32).reshape(6, 3)
    pairs = x.reshape(3, 6)
    assert_allclose(made.run({"x": x})["y"].reshape(3, 6), pairs / pairs.max(1, keepdims=True))
    for count in (0, 1, 5):
        with pytest.raises(ShapeError, match="takes 2 samples at a time"):
            made.run({"x": x[:count]})


def test_inputs_that_disagree_on_the_number_of_samples(parse: Parse) -> None:
    text = "g (float[1, 3] x, float[1, 3] w, float[N, 3] v) => (float[1, 3] y) { s = Sum (x, w, v) m = ReduceMax <keepdims = 0> (s) y = Div (s, m) }"
    made = Session(onnxray.load(parse(text)))
    x = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    whole = made.run({"x": x, "w": x, "v": x})["y"]  # v, whose size is open, is cut along
    assert_allclose(whole, x / x.max(1, keepdims=True))
    with pytest.raises(ShapeError, match="at a time"):
        made.run({"x": x, "w": x[:2], "v": x})


def test_outputs_without_a_batch_axis(parse: Parse) -> None:
    scalar = Session(onnxray.load(parse("g (float[1, 3] x) => (float m) { m = ReduceMax <keepdims = 0> (x) }")))
    found = Session(onnxray.load(parse("g (float[1, 3] x) => (int64[2, k] i) { i = NonZero (x) }")))
    x = np.ones((4, 3), np.float32)
    for made in (scalar, found):
        with pytest.raises(ShapeError, match="does not hold one entry per sample"):
            made.run({"x": x})
        made.run({"x": x[:1]})


# --- devices --------------------------------------------------------------------------------------------------------


def test_values_stay_on_the_device_between_stages(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    head, tail = (Session(m, threads=1) for m in onnxray.split(model, "features"))
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    between = head.run_on_device({"image": x})
    assert isinstance(between["features"], onnxruntime.OrtValue)
    assert between["features"].device_name() == head.device
    end = tail.run_on_device(between)["logits"].numpy()
    assert_array_equal(end, tail.run(head.run({"image": x}))["logits"])
    assert apart(end, run(model, {"image": x})["logits"]) <= ROUNDING
    mixed = tail.run_on_device({"features": ort_values.to_device(between["features"].numpy(), "cpu")})
    assert_array_equal(mixed["logits"].numpy(), end)


def test_results_are_bound_to_the_card_that_the_options_name(
    cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, bound = Session(onnxray.load(cnn), providers="cpu"), []
    assert (made.device, made.device_number) == ("cpu", 0)
    made._made_with["providers"] = (providers.Provider(providers.CUDA, (("device_id", "1"),)),)
    assert made.device_number == 1
    binding = made._ort.io_binding()

    class Spied:
        def __getattr__(self, name: str) -> Any:
            return getattr(binding, name)

        def bind_output(self, name: str, device: str, number: int) -> None:
            bound.append((name, device, number))
            raise RuntimeError("there is one card")

    monkeypatch.setattr(made._ort, "io_binding", Spied)
    with pytest.raises(onnxray.OnnxrayError, match="one card"):
        made.run_on_device({"image": np.zeros((1, 3, 16, 16), np.float32)})
    assert bound == [("logits", "cpu", 1)]


def test_errors_with_io_binding(cnn: onnx.ModelProto) -> None:
    made = Session(onnxray.load(cnn))
    with pytest.raises(UnknownName, match="'imag'"):
        made.run_on_device({"imag": np.zeros((1, 3, 16, 16), np.float32)})
    with pytest.raises(ShapeError, match="also needs the input"):
        made.run_on_device({})
    with pytest.raises(UnknownName, match="output named 'flat'"):
        made.run_on_device({"image": np.zeros((1, 3, 16, 16), np.float32)}, ["flat"])
    wrong = ort_values.to_device(np.zeros((1, 3, 16, 17), np.float32), "cpu")
    with pytest.raises(ShapeError, match="ONNX Runtime failed"):
        made.run_on_device({"image": wrong})


# --- the cache ------------------------------------------------------------------------------------------------------


def test_sessions_are_kept_by_content(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "sessions", Kept(8))
    first = session.session(onnxray.load(cnn), threads=1)
    assert session.session(onnxray.load(cnn), threads=1) is first
    data = cnn.SerializeToString()
    assert session.session(onnxray.load(data), threads=1) is session.session(onnxray.load(data), threads=1)
    assert session.session(onnxray.load(cnn), threads=1, providers="cpu") is (
        first if providers.providers() == ("CPUExecutionProvider",) else None
    )
    others = [
        session.session(onnxray.load(cnn), threads=2),
        session.session(onnxray.load(cnn), threads=1, optimize="none"),
        session.session(onnxray.load(cnn), threads=1, spin=False),
        session.session(onnxray.expose(onnxray.load(cnn), "flat"), threads=1),
    ]
    assert len({id(s) for s in (first, *others)}) == 5
    monkeypatch.setattr(session.sessions, "most", 3)
    for name in ("stem", "pooled", "inner"):
        session.session(onnxray.expose(onnxray.load(cnn), name), threads=1)
    assert len(session.sessions) == 3
    assert session.session(onnxray.load(cnn), threads=1) is not first


def test_one_session_for_many_threads(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    x = np.random.default_rng(0).random((8, 3, 16, 16), np.float32)
    expected = [session.session(model, threads=1).run({"image": x[i : i + 1]})["logits"] for i in range(8)]
    got: list[np.ndarray | None] = [None] * 8

    def work(i: int) -> None:
        got[i] = session.session(model, threads=1).run({"image": x[i : i + 1]})["logits"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_array_equal(np.stack(got), np.stack(expected))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimize": "most"}, "no optimization level named 'most'"),
        ({"threads": 0}, "cannot have 0 threads"),
        ({"threads": -2}, "cannot have -2 threads"),
        ({"providers": "gpu"}, "no execution provider named 'gpu'"),
        ({"providers": ["cpu", "cudda"]}, "no execution provider named 'cudda'; nearest: 'cuda'"),
        ({"providers": 5}, "no execution provider named '5'"),
    ],
)
def test_options_that_do_not_exist(cnn: onnx.ModelProto, options: dict[str, object], message: str) -> None:
    with pytest.raises(OnnxrayError, match=message):
        session.session(onnxray.load(cnn), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimize", ["all", "extended", "basic", "none"])
def test_every_optimization_level_computes_the_same(cnn: onnx.ModelProto, optimize: str) -> None:
    model = onnxray.load(cnn)
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    got, expected = Session(model, optimize=optimize).run({"image": x}), run(model, {"image": x})
    assert apart(got["logits"], expected["logits"]) <= ROUNDING


# --- errors of ONNX Runtime -----------------------------------------------------------------------------------------


def test_a_failing_run_is_one_line(parse: Parse) -> None:
    model = onnxray.load(parse("g (float[a, b] x, int64[k] s) => (float[c, d] y) { [bad] y = Reshape (x, s) }"))
    with pytest.raises(ModelError, match="Reshape node 'bad': ") as raised:
        run(model, {"x": np.ones((2, 3), np.float32), "s": np.array([7, 7])})
    assert "\n" not in str(raised.value)
    assert "/onnxruntime_src" not in str(raised.value)


def test_too_much_memory_is_an_error(parse: Parse) -> None:
    model = onnxray.load(parse("g (int64[1] n) => (float[k] y) { y = ConstantOfShape (n) }"))
    with pytest.raises(ModelError, match="ConstantOfShape"):
        run(model, {"n": np.array([1 << 60])})


def test_types_that_do_not_go_together(parse: Parse) -> None:
    proto = parse("g (float[2] x, int64[2] k) => (float[2] y) { y = Add (x, k) }")
    with pytest.raises(ModelError, match="cannot run this model") as raised:
        run(onnxray.load(proto), {"x": np.ones(2, np.float32), "k": np.ones(2, np.int64)})
    assert "\n" not in str(raised.value)


def test_numpy_scalars_are_arrays_without_axes(parse):
    """As `np.float32(1)` for the cotangent of a score."""
    model = parse("m (float[N, 3] x, float k) => (float y) { z = Mul (x, k) y = ReduceSum <keepdims = 0> (z) }")
    x = np.ones((1, 3), np.float32)
    given = {"x": x, "k": np.float32(2)}
    assert Session(onnxray.load(model)).run(given)["y"] == 6
    assert Session(onnxray.load(model)).run_on_device(given)["y"].numpy() == 6
    assert onnxray.activations(model, given, "y")["y"] == 6
    gradient = onnxray.vjp(model, "y", "x")
    assert_array_equal(Session(gradient).run({**given, "cotangent/y": np.float32(1)})["grad/x"], 2 * x)
    for method in ("gradient", "occlusion"):
        found = onnxray.explain(model, given, method=method, target="value")
        assert_array_equal(found.values.reshape(-1), [2, 2, 2])
