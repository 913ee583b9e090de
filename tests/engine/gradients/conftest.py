"""The judge of this folder: central differences along random directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.reference import ReferenceEvaluator

import onnxray

Feeds = Mapping[str, np.ndarray]


def _runtime(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _judge(
    model: onnx.ModelProto,
    feeds: Feeds,
    of: Sequence[str] | None = None,
    wrt: Sequence[str] | None = None,
    *,
    reference: bool = True,
    tolerance: float = 1e-2,
) -> dict[str, np.ndarray]:
    """Check `onnxray.vjp` on ONNX Runtime against numbers, for every float output and input unless told; the gradients.

    `reference=True`: the numbers are central differences of onnx's reference evaluator in float64. False, for operators
    that it does not have: of ONNX Runtime in float32, with a larger step and tolerance.
    """
    before = model.SerializeToString()
    of = list(of or [v.name for v in model.graph.output if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT])
    wrt = list(wrt or [v.name for v in model.graph.input if feeds[v.name].dtype == np.float32])
    grad = onnxray.vjp(model, of=of, wrt=wrt)
    assert model.SerializeToString() == before
    onnx.checker.check_model(grad.proto, full_check=True)
    assert {node.domain for node in grad.proto.graph.node} <= {"", "ai.onnx"}
    names = [v.name for v in model.graph.output]
    plain = dict(zip(names, _runtime(model).run(names, dict(feeds)), strict=True))
    rng = np.random.default_rng(0)
    cotangents = {n: rng.standard_normal(plain[n].shape).astype(np.float32) for n in of}
    given = {**feeds, **{f"cotangent/{n}": c for n, c in cotangents.items()}}
    got = dict(zip(wrt, _runtime(grad.proto).run([f"grad/{n}" for n in wrt], given), strict=True))
    again = dict(zip(names, _runtime(grad.proto).run(names, given), strict=True))
    for name in names:
        np.testing.assert_allclose(again[name], plain[name], rtol=1e-4, atol=1e-5)

    evaluator = ReferenceEvaluator(model) if reference else _runtime(model)
    kind = np.float64 if reference else np.float32
    # float32 wants a step that is large against its rounding and small against curvature and kinks: the better counts.
    steps = (1e-5,) if reference else (1e-2, 2e-3, 5e-4)

    def value_at(name: str, x: np.ndarray) -> float:
        point = {n: v.astype(kind) if v.dtype == np.float32 else v for n, v in feeds.items()}
        outs = evaluator.run(of, {**point, name: x.astype(kind)})
        return sum(float((np.asarray(o, np.float64) * cotangents[n]).sum()) for n, o in zip(of, outs, strict=True))

    for name, gradient in got.items():
        assert gradient.shape == feeds[name].shape
        for _ in range(3):
            direction = rng.standard_normal(gradient.shape)
            x = feeds[name].astype(np.float64)
            numeric = [(value_at(name, x + h * direction) - value_at(name, x - h * direction)) / (2 * h) for h in steps]
            exact = float((gradient.astype(np.float64) * direction).sum())
            scale = max(abs(exact), 0.1 * float(np.linalg.norm(gradient)), 1e-6)
            assert min(abs(n - exact) for n in numeric) <= tolerance * scale, (name, numeric, exact)
    return got


@pytest.fixture(scope="session")
def judge() -> Callable[..., dict[str, np.ndarray]]:
    """judge(model, feeds, of=None, wrt=None, reference=True, tolerance=1e-2): see `_judge`."""
    return _judge


def _check_gradient(
    model: onnx.ModelProto,
    feeds: Feeds,
    wrt: Sequence[str] | None = None,
    of: Sequence[str] | None = None,
    forward: Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]] | None = None,
    tolerance: float = 1e-3,
    step: float = 1e-5,
    seed: int = 0,
    checker: bool = True,
) -> onnx.ModelProto:
    """Hold `vjp(model, of, wrt)`, run by ONNX Runtime, against differences of `forward`; the gradient model.

    forward: the model in float64, a function from feeds to the values of `of`; default: ONNX's reference evaluator. It
    must agree with what ONNX Runtime computes. `wrt`, `of`: all float inputs and outputs. `tolerance` is relative
    to the length of the gradient, which is what a random direction sees of it on average. `checker=False`: for models
    that ONNX's checker does not let pass as they are.
    """
    # Not the numbers that a test draws with the same seed: gradients may vanish along their own values.
    rng = np.random.default_rng((seed, 1))
    wrt = wrt or [v.name for v in model.graph.input if feeds[v.name].dtype.kind == "f"]
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.UNDEFINED)
    of = list(of or [v.name for v in model.graph.output if v.type.tensor_type.elem_type in floats])
    if forward is None:
        reference = ReferenceEvaluator(model)
        forward = lambda at: reference.run(of, at)  # noqa: E731
    exact = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in feeds.items()}
    outputs = _runtime(model).run(of, dict(feeds))
    expected = [np.asarray(y) for y in forward(exact)]
    loose = 30 if outputs[0].dtype == np.float16 else 1
    for name, ours, theirs in zip(of, outputs, expected, strict=True):
        assert ours.shape == theirs.shape, f"the judge itself is wrong: {name} {ours.shape} {theirs.shape}"
        np.testing.assert_allclose(ours, theirs, rtol=1e-3 * loose, atol=1e-4 * loose, err_msg=f"the judge: {name}")
    cotangents = [rng.standard_normal(y.shape).astype(y.dtype) for y in outputs]
    gradient = onnxray.vjp(model, of=of, wrt=wrt).proto
    if checker:
        onnx.checker.check_model(gradient, full_check=True)
    assert {node.domain for node in gradient.graph.node} <= {"", "ai.onnx"}
    given = {**feeds, **{f"cotangent/{n}": c for n, c in zip(of, cotangents, strict=True)}}
    found = _runtime(gradient).run([f"grad/{n}" for n in wrt], given)

    def value(at: dict[str, np.ndarray]) -> float:
        return sum(float(np.sum(y * c.astype(np.float64))) for y, c in zip(forward(at), cotangents, strict=True))

    for name, ours in zip(wrt, found, strict=True):
        assert ours.shape == feeds[name].shape
        assert ours.dtype == feeds[name].dtype
        assert np.isfinite(ours).all()
        length = float(np.linalg.norm(ours.astype(np.float64)))
        for _ in range(3):
            direction = rng.standard_normal(ours.shape)
            high = value({**exact, name: exact[name] + step * direction})
            low = value({**exact, name: exact[name] - step * direction})
            numeric, along = (high - low) / (2 * step), float(np.sum(ours * direction))
            assert abs(numeric - along) <= tolerance * loose * max(length, 1e-3), (
                f"grad/{name} along a random direction: {along:.6g}, by differences {numeric:.6g} (length {length:.3g})"
            )
    return gradient


@pytest.fixture(scope="session")
def check_gradient() -> Callable[..., onnx.ModelProto]:
    """check_gradient(model, feeds, wrt=None, of=None, forward=None, tolerance=1e-3): see `_check_gradient`."""
    return _check_gradient
