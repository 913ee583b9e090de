"""Every rule of the registry against central differences in float64, by ONNX's own reference evaluator.

The cases are ONNX's backend node tests, all of them, and `CASES` below where that suite is thin. A rule without a case
that counts fails; a case counts if both ONNX Runtime and the reference evaluator run it and agree. What is left out is
named in `LEFT_OUT`, with the reason.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from onnxray.engine import gradients
from onnxray.engine.autodiff.vjp import vjp
from onnxray.engine.gradients.registry import Gradient

RUNTIME_ERRORS = tuple(
    e
    for e in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    if isinstance(e, type) and issubclass(e, Exception)
)

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
# Node test -> why it is no case.
LEFT_OUT = {
    "test_l1normalization_axis_0": "the reference evaluator sums signed values for p = 1",
    "test_l1normalization_axis_1": "the reference evaluator sums signed values for p = 1",
    "test_l1normalization_axis_last": "the reference evaluator sums signed values for p = 1",
}
# Inputs that are numbers by type but lengths, masks or settings by meaning.
SETTINGS = {
    "Dropout": {1},
    "Resize": {1, 2},
    "Upsample": {1},
}

# name -> (graph as text, opset); inputs are drawn at random, integer and boolean ones stand in the text.
CASES: dict[str, tuple[str, int]] = {
    "Mod": ("(float[2,6] a, float[6] b) => (float[2,6] y) { y = Mod<fmod = 1>(a, b) }", 18),
    "Pow, one base": (
        "(float[3,2] x) => (float[3,2] y) { p = Abs(x) two = Constant<value = float {2.5}>() y = Pow(p, two) }", 18),
    "Pow, many exponents": (
        "(float[3,2] x) => (float[3,2] y) { e = Constant<value = float[2] {0, 3}>() y = Pow(x, e) }", 18),
    "Pow, exponent": ("(float[3,2] x, float[2] e) => (float[3,2] y) { p = Abs(x) y = Pow(p, e) }", 18),
    "Max, three": ("(float[4,5] a, float[5] b, float[4,1] c) => (float[4,5] y) { y = Max(a, b, c) }", 18),
    "Min, constant": ("(float[4,5] a) => (float[4,5] y) { c = Constant<value = float {0.3}>() y = Min(c, a) }", 18),
    "Where, broadcast": (
        "(float[4,5] a, float[5] b) => (float[4,5] y) { c = Greater(a, b) y = Where(c, b, a) }", 18),
    "CastLike": (
        "(float[4] a) => (double[4] y) { b = Constant<value = double {0}>() y = CastLike(a, b) }", 18),
    "Cast": ("(float[4] a) => (double[4] y) { y = Cast<to = 11>(a) }", 18),
    "Clip, bounds": ("(float[4,5] a, float low, float high) => (float[4,5] y) { y = Clip(a, low, high) }", 18),
    "Clip, crossed": (
        """(float[4,5] a, float high) => (float[4,5] y)
           { one = Constant<value = float {9}>() low = Add(high, one) y = Clip(a, low, high) }""", 18),
    "LeakyRelu, negative slope": ("(float[9] a) => (float[9] y) { y = LeakyRelu<alpha = -0.5>(a) }", 18),
    "Elu, negative": ("(float[9] a) => (float[9] y) { y = Elu<alpha = -1.5>(a) }", 18),
    "Softmax, first axis": ("(float[4,5] a) => (float[4,5] y) { y = Softmax<axis = 0>(a) }", 18),
    "MatMul, vector left": ("(float[4] a, float[3,4,5] b) => (float[3,5] y) { y = MatMul(a, b) }", 18),
    "MatMul, vector right": ("(float[3,2,4] a, float[4] b) => (float[3,2] y) { y = MatMul(a, b) }", 18),
    "MatMul, vector matrix": ("(float[4] a, float[4,5] b) => (float[5] y) { y = MatMul(a, b) }", 18),
    "MatMul, vectors": ("(float[4] a, float[4] b) => (float y) { y = MatMul(a, b) }", 18),
    "MatMul, broadcast": ("(float[2,1,3,4] a, float[5,4,2] b) => (float[2,5,3,2] y) { y = MatMul(a, b) }", 18),
    "MatMul, shared matrix": ("(float[2,3,4] a, float[4,2] b) => (float[2,3,2] y) { y = MatMul(a, b) }", 18),
    "Gemm, all options": (
        """(float[4,3] a, float[5,4] b, float[3,1] c) => (float[3,5] y)
           { y = Gemm<alpha = 0.5, beta = -2.0, transA = 1, transB = 1>(a, b, c) }""", 18),
    "Gemm, scalar bias": (
        "(float[3,4] a, float[5,4] b, float c) => (float[3,5] y) { y = Gemm<transB = 1>(a, b, c) }", 18),
    "Gemm, transposed left": ("(float[4,3] a, float[4,5] b) => (float[3,5] y) { y = Gemm<transA = 1>(a, b) }", 18),
    "Einsum, diagonal": ('(float[3,3,2] a) => (float[2,3] y) { y = Einsum<equation = "iij->ji">(a) }', 18),
    "Einsum, trace of a product": (
        '(float[3,3] a, float[3] b) => (float y) { y = Einsum<equation = "ii,i->">(a, b) }', 18),
    "Einsum, summed alone": (
        '(float[3,4] a, float[3] b) => (float[3] y) { y = Einsum<equation = "ij,i->i">(a, b) }', 18),
    "Einsum, ellipsis": (
        '(float[2,3,4] a, float[4,5] b) => (float[2,3,5] y) { y = Einsum<equation = "...ij,jk->...ik">(a, b) }', 18),
    "Einsum, implicit": ('(float[3,4] a, float[4,5] b) => (float[3,5] y) { y = Einsum<equation = "ij,jk">(a, b) }', 18),
    "Einsum, three": (
        """(float[3,2] a, float[2,4] b, float[4,3] c) => (float[3] y)
           { y = Einsum<equation = "ij,jk,ki->i">(a, b, c) }""", 18),
    "ReduceProd, zeros": (
        """(float[2,3] x) => (float[2] y)
           { m = Constant<value = float[2,3] {1, 0, 1, 0, 0, 1}>() z = Mul(x, m)
             a = Constant<value = int64[1] {1}>() y = ReduceProd<keepdims = 0>(z, a) }""", 18),
    "ReduceMax, ties": (
        """(float[3] x) => (float y)
           { two = Constant<value = int64[1] {2}>() t = Tile(x, two)
             y = ReduceMax<keepdims = 0>(t) }""", 18),
    "ReduceMean, computed axes": (
        """(float[2,3,4] x) => (float[3] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m) n = Constant<value = int64[2] {0, 2}>()
             a = Add(o, n) y = ReduceMean<keepdims = 0>(x, a) }""", 18),
    "ReduceMax, computed axes": (
        """(float[2,3,4] x) => (float[2,1,4] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m) n = Constant<value = int64[1] {-2}>()
             a = Add(o, n) y = ReduceMax(x, a) }""", 18),
    "Slice, computed bounds": (
        """(float[6,7] x) => (float[3,5] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m)
             s = Constant<value = int64[2] {1, -6}>() e = Constant<value = int64[2] {4, 100}>() b = Add(o, s)
             f = Add(o, e)
             y = Slice(x, b, f) }""", 18),
    "Slice, computed steps": (
        """(float[6,7,2] x) => (float[2,4,2] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m)
             s = Constant<value = int64[2] {1, 6}>() e = Constant<value = int64[2] {5, -100}>()
             a = Constant<value = int64[2] {0, -2}>() t = Constant<value = int64[2] {2, -2}>()
             b = Add(o, s) f = Add(o, e) c = Add(o, a) d = Add(o, t) y = Slice(x, b, f, c, d) }""", 18),
    "Pad, computed": (
        """(float[3,5] x) => (float[4,8] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m)
             p = Constant<value = int64[4] {0, 2, 1, 1}>()
             q = Add(o, p) y = Pad<mode = "reflect">(x, q) }""", 18),
    "Tile, computed": (
        """(float[2,3] x) => (float[4,9] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m) r = Constant<value = int64[2] {2, 3}>()
             s = Add(o, r) y = Tile(x, s) }""", 18),
    "Expand, computed": (
        """(float[2,1,3] x) => (float[2,4,3] y)
           { z = Sub(x, x) m = ReduceMax<keepdims = 0>(z) o = Cast<to = 7>(m) r = Constant<value = int64[3] {2, 4, 1}>()
             s = Add(o, r) y = Expand(x, s) }""", 18),
    "ReduceSum, no axes": ("(float[2,3] x) => (float[2,3] y) { y = ReduceSum<noop_with_empty_axes = 1>(x) }", 18),
    "LpNormalization, 1": (
        "(float[3,4] x) => (float[3,4] y) { a = Abs(x) y = LpNormalization<p = 1, axis = 0>(a) }", 18),
    "CumSum, all": (
        """(float[3,4] x) => (float[3,4] y)
           { a = Constant<value = int64 {1}>() y = CumSum<exclusive = 1, reverse = 1>(x, a) }""", 18),
    "CumProd, zeros": (
        """(float[3,4] x) => (float[3,4] y)
           { a = Constant<value = int64 {1}>() m = Constant<value = float[3,4] {1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 0}>()
             z = Mul(x, m) y = CumProd<exclusive = 1, reverse = 1>(z, a) }""", 26),
    "TopK, smallest": (
        """(float[3,6] x) => (float[2,6] y)
           { k = Constant<value = int64[1] {2}>() y, i = TopK<axis = 0, largest = 0>(x, k) }""", 18),
    "TopK, values only": (
        "(float[3,6] x) => (float[3,2] y) { k = Constant<value = int64[1] {2}>() y, i = TopK(x, k) }", 18),
    "DepthToSpace, column row depth": (
        "(float[2,8,2,3] x) => (float[2,2,4,6] y) { y = DepthToSpace<blocksize = 2, mode = \"CRD\">(x) }", 18),
    "SpaceToDepth": ("(float[2,2,4,6] x) => (float[2,8,2,3] y) { y = SpaceToDepth<blocksize = 2>(x) }", 18),
    "Gather, one": (
        "(float[2,5,3] x) => (float[2,3] y) { i = Constant<value = int64 {-2}>() y = Gather<axis = 1>(x, i) }", 18),
    "Gather, run": (
        """(float[2,5,3] x) => (float[2,2,3] y)
           { i = Constant<value = int64[2] {1, 2}>() y = Gather<axis = 1>(x, i) }""", 18),
    "Gather, repeated": (
        """(float[2,5,3] x) => (float[2,2,3,3] y)
           { i = Constant<value = int64[2,3] {1, -1, 1, 0, 1, 4}>() y = Gather<axis = 1>(x, i) }""", 18),
    "Gather, computed": (
        "(float[5,3] x) => (float[2,3] y) { i = Constant<value = int32[2] {3, 3}>() y = Gather(x, i) }", 18),
    "GatherElements, repeated": (
        """(float[3,3] x) => (float[2,3] y)
           { i = Constant<value = int64[2,3] {0, 0, -1, 0, 1, 1}>() y = GatherElements(x, i) }""", 18),
    "GatherND, batch": (
        """(float[2,3,4] x) => (float[2,2] y)
           { i = Constant<value = int64[2,2,2] {0, 1, 2, 3, 1, 1, 1, 1}>() y = GatherND<batch_dims = 1>(x, i) }""", 18),
    "ScatterElements, max": (
        """(float[3,3] x, float[2,3] u) => (float[3,3] y)
           { i = Constant<value = int64[2,3] {0, 1, 2, 0, 0, 2}>()
             y = ScatterElements<reduction = "max">(x, i, u) }""", 18),
    "ScatterElements, mul": (
        """(float[3,3] x, float[2,3] u) => (float[3,3] y)
           { i = Constant<value = int64[2,3] {0, 1, 2, 0, 0, 2}>()
             y = ScatterElements<reduction = "mul">(x, i, u) }""", 18),
    "ScatterElements, mul by zero": (
        """(float[3] x, float[3] u) => (float[3] y)
           { i = Constant<value = int64[3] {0, 0, 2}>() m = Constant<value = float[3] {0, 1, 1}>() v = Mul(u, m)
             y = ScatterElements<reduction = "mul">(x, i, v) }""", 18),
    "ScatterND, min": (
        """(float[4,3] x, float[2,3] u) => (float[4,3] y)
           { i = Constant<value = int64[2,1] {1, 1}>() y = ScatterND<reduction = "min">(x, i, u) }""", 18),
    "Compress, axis": (
        """(float[3,4] x) => (float[3,2] y)
           { c = Constant<value = bool[3] {0, 1, 1}>() y = Compress<axis = 1>(x, c) }""", 18),
    "Compress, flat": (
        "(float[2,3] x) => (float[2] y) { c = Constant<value = bool[5] {0, 1, 0, 0, 1}>() y = Compress(x, c) }", 18),
    "OneHot": (
        """(float[2] v) => (float[3,4] y)
           { i = Constant<value = int64[3] {0, 3, -1}>() d = Constant<value = int64 {4}>()
             y = OneHot(i, d, v) }""", 18),
    "Unique": ("(float[4] x) => (float[4] y) { y, a, b, c = Unique(x) }", 18),
    "Slice, steps": (
        """(float[3,8,9] x) => (float[3,3,5] y)
           { s = Constant<value = int64[2] {1, -1}>() e = Constant<value = int64[2] {8, -100}>()
             a = Constant<value = int64[2] {1, 2}>() t = Constant<value = int64[2] {3, -2}>()
             y = Slice(x, s, e, a, t) }""", 18),
    "Slice, every second": (
        """(float[2,4,6] x) => (float[2,2,3] y)
           { s = Constant<value = int64[2] {0, 1}>()
             e = Constant<value = int64[2] {9223372036854775807, 9223372036854775807}>()
             a = Constant<value = int64[2] {1, 2}>() t = Constant<value = int64[2] {2, 2}>()
             y = Slice(x, s, e, a, t) }""", 18),
    "Slice, empty": (
        """(float[3,4] x) => (float[3,4] y)
           { s = Constant<value = int64[1] {3}>() e = Constant<value = int64[1] {1}>() p = Slice(x, s, e)
             c = Concat<axis = 0>(p, x) y = Exp(c) }""", 18),
    "Pad, reflect": (
        """(float[2,4,5] x) => (float[2,8,7] y)
           { p = Constant<value = int64[6] {0, 3, 1, 0, 1, 1}>() y = Pad<mode = "reflect">(x, p) }""", 18),
    "Pad, edge of a wide axis": (
        """(float[2,700] x) => (float[3,705] y)
           { p = Constant<value = int64[4] {1, 2, 0, 3}>() y = Pad<mode = "edge">(x, p) }""", 18),
    "Pad, wrap": (
        """(float[3,5] x) => (float[3,9] y)
           { p = Constant<value = int64[2] {3, 1}>() a = Constant<value = int64[1] {-1}>()
             n = Constant<value = float {0}>()
             y = Pad<mode = "wrap">(x, p, n, a) }""", 19),
    "Pad, value": (
        """(float[3,5] x, float v) => (float[5,8] y)
           { p = Constant<value = int64[4] {1, 2, 1, 1}>() y = Pad(x, p, v) }""", 18),
    "Tile": ("(float[2,3] x) => (float[4,9] y) { r = Constant<value = int64[2] {2, 3}>() y = Tile(x, r) }", 18),
    "Expand": (
        """(float[2,1,3] x) => (float[4,2,5,3] y)
           { s = Constant<value = int64[4] {4, 1, 5, 1}>() y = Expand(x, s) }""", 18),
    "Split, one part unused": (
        """(float[2,7] x) => (float[2,3] y)
           { s = Constant<value = int64[3] {1, 3, 3}>() a, b, c = Split<axis = 1>(x, s) y = Mul(a, c) }""", 18),
    "Concat, one wanted": (
        """(float[2,3] x) => (float[2,5] y)
           { c = Constant<value = float[2,2] {1, 2, 3, 4}>() y = Concat<axis = -1>(c, x) }""", 18),
    "Trilu": (
        "(float[2,4,5] x) => (float[2,4,5] y) { k = Constant<value = int64 {-1}>() y = Trilu<upper = 0>(x, k) }", 18),
    "ReverseSequence": (
        """(float[4,3] x) => (float[4,3] y)
           { l = Constant<value = int64[3] {1, 4, 2}>()
             y = ReverseSequence<batch_axis = 1, time_axis = 0>(x, l) }""", 18),
    "Range": (
        """(float start, float delta) => (float[4] y)
           { d = Abs(delta) f = Constant<value = float {3.5}>() w = Mul(d, f) stop = Add(start, w)
             y = Range(start, stop, d) }""", 18),
}  # fmt: skip


def session_of(proto):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(proto, names, feeds):
    """In ONNX Runtime; in the reference evaluator where the opset is newer than the runtime."""
    try:
        session = session_of(proto)
    except RUNTIME_ERRORS as error:
        if "under development" not in str(error) and "IR version" not in str(error):
            raise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ReferenceEvaluator(proto).run(names, feeds)
    return session.run(names, feeds)


def is_float(value):
    return isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)


class NoCase(Exception):
    """Neither right nor wrong: the case cannot be judged here, and why."""


def judge(model, feeds, wrt, of, double=None, seed=0, tolerance=1e-2):
    """Compare `vjp` on ONNX Runtime with central differences of the reference evaluator. AssertionError or NoCase.

    `double` is the model in float64, for models with float constants; else the evaluator is simply given float64.
    """
    rng = np.random.default_rng(seed)
    feeds = dict(feeds)
    for name in wrt:  # off kinks and ties
        feeds[name] = np.asarray(feeds[name] + 0.01 * rng.uniform(-1, 1, feeds[name].shape), feeds[name].dtype)
    exact = {n: v.astype(np.float64) if n in wrt else v for n, v in feeds.items()}
    try:
        values = run(model, of, feeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = ReferenceEvaluator(double or model)
            expected = reference.run(of, exact)
    except (*RUNTIME_ERRORS, RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        raise NoCase(f"{type(error).__name__}: {str(error)[:80]}") from None
    if not all(np.isfinite(v).all() for v in values):
        raise NoCase("the outputs are not finite")
    if any(e.shape != v.shape or not np.allclose(e, v, 1e-2, 1e-3) for e, v in zip(expected, values, strict=True)):
        raise NoCase("the reference evaluator and ONNX Runtime disagree")
    cotangents = [rng.standard_normal(v.shape).astype(v.dtype) for v in values]
    gradient = vjp(model, of, wrt).proto
    onnx.checker.check_model(gradient, full_check=True)
    assert {node.domain for node in gradient.graph.node} <= {"", "ai.onnx"}
    seeds = {f"cotangent/{n}": c for n, c in zip(of, cotangents, strict=True)}
    found = run(gradient, [f"grad/{n}" for n in wrt], {**feeds, **seeds})

    def at(name, point):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = reference.run(of, {**exact, name: point})
        return sum((o.astype(np.float64) * c).sum() for o, c in zip(outputs, cotangents, strict=True))

    # Where everything is saturated the derivative itself is rounding: 1e-6 of the cotangent is what float32 can tell.
    least = 1e-4 * float(np.sqrt(sum(np.sum(np.square(c, dtype=np.float64)) for c in cotangents)))
    for name, g in zip(wrt, found, strict=True):
        assert g.shape == feeds[name].shape, f"grad/{name} has shape {g.shape} for {feeds[name].shape}"
        if not g.size:
            continue
        tries = []
        for _ in range(3):
            direction = rng.standard_normal(g.shape)
            expected_size = np.linalg.norm(g) * np.linalg.norm(direction) / np.sqrt(direction.size)
            for step in (1e-6, 1e-4, 1e-3):
                high, low = (at(name, exact[name] + sign * step * direction) for sign in (1, -1))
                numeric, exactly = (high - low) / (2 * step), float((g.astype(np.float64) * direction).sum())
                scale = max(abs(numeric), abs(exactly), 1e-2 * expected_size, least, 1e-6)
                tries.append((abs(numeric - exactly) / scale, numeric, exactly))
        error, numeric, exactly = min(tries)
        assert error < tolerance, f"grad/{name}: by differences {numeric:.6g}, by the rule {exactly:.6g}"


@functools.cache
def node_tests():
    """operator -> its backend node tests of one node."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    found: dict[str, list] = {}
    for case in cases:
        if case.model is None or len(case.model.graph.node) != 1 or not case.data_sets or "train" in case.name:
            continue
        node = case.model.graph.node[0]
        if not node.domain and case.name not in LEFT_OUT:
            found.setdefault(node.op_type, []).append(case)
    return found


def rules():
    """Operators of the standard that have a rule or a decomposition."""
    return [
        op
        for (domain, op), entry in gradients.entries()
        if not domain and (isinstance(entry, Gradient) or callable(entry))
    ]


def _arrays(case):
    values = [onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in case.data_sets[0][0]]
    return {i.name: v for i, v in zip(case.model.graph.input, values, strict=False)}


def _wanted(case, op):
    entry = gradients.find("", op)
    node = case.model.graph.node[0]
    feeds = _arrays(case)
    chosen = range(len(node.input))
    if isinstance(entry, Gradient) and entry.inputs is not None:
        chosen = sorted(entry.inputs)
    settings = SETTINGS.get(op, set())
    wanted = [node.input[i] for i in chosen if i < len(node.input) and i not in settings]
    return [n for n in dict.fromkeys(wanted) if n and is_float(feeds.get(n))]


@pytest.mark.filterwarnings("ignore:the model has IR version")
@pytest.mark.parametrize("op", rules())
def test_backend_node_tests(op):
    counted, wrong, skipped = 0, [], []
    for case in node_tests().get(op, []):
        wrt = _wanted(case, op)
        outputs = case.model.graph.output
        of = [o.name for o in outputs if o.type.tensor_type.elem_type in FLOATS][:1]
        if not wrt or not of:
            continue
        try:
            judge(case.model, _arrays(case), wrt, of)
        except NoCase as reason:
            skipped.append(f"{case.name}: {reason}")
            continue
        except (AssertionError, *RUNTIME_ERRORS) as error:
            wrong.append(f"{case.name}: {error}")
        counted += 1
    assert not wrong, "\n".join(wrong)
    own = any(name.partition(",")[0] == op for name in CASES) or op in JUDGED_ELSEWHERE
    assert counted or own, f"no case for {op}: add one to CASES ({skipped or 'no node test with a float input'})"


# Operators without a node test that counts, whose own test files judge them.
JUDGED_ELSEWHERE = {
    "GlobalLpPool": "test_pooling.py",
    "MeanVarianceNormalization": "test_normalization.py",
    "SimplifiedLayerNormalization": "test_normalization.py",
    "If": "test_control.py",
    "Loop": "test_control.py",
    "Scan": "test_control.py",
    "MaxRoiPool": "test_roi.py",
    "RoiAlign": "test_roi.py",
    "QuantizeLinear": "test_quantize.py",
    "DequantizeLinear": "test_quantize.py",
}


@pytest.mark.parametrize("name", CASES)
def test_own_cases(name, parse):
    text, opset = CASES[name]
    model = parse(f"g {text}", opset=opset)
    rng = np.random.default_rng(3)
    feeds = {}
    for info in model.graph.input:
        kind = info.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        feeds[info.name] = np.asarray(rng.standard_normal(shape), onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    wrt = [n for n, v in feeds.items() if is_float(v)]
    judge(model, feeds, wrt, [o.name for o in model.graph.output], parse(f"g {text.replace('float', 'double')}", opset))


def test_a_pad_that_crops(parse):
    """Negative pads, which the reference evaluator does not have."""
    model = parse("g (float[3,5] x, float v) => (float[5,4] y) { y = Pad(x, p, v) }", p=np.array([1, -2, 1, 1]))
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((3, 5)).astype(np.float32), rng.standard_normal((5, 4)).astype(np.float32)
    feeds = {"x": x, "v": np.array(2, np.float32), "cotangent/y": dy}
    y, dx, dv = run(vjp(model, "y", ["x", "v"]).proto, ["y", "grad/x", "grad/v"], feeds)
    np.testing.assert_array_equal(y[1:4, :3], x[:, 2:])
    np.testing.assert_array_equal(dx, np.concatenate([np.zeros((3, 2)), dy[1:4, :3]], 1))
    np.testing.assert_allclose(dv, dy.sum() - dy[1:4, :3].sum(), rtol=1e-5)


def test_every_operator_of_the_standard_is_accounted_for():
    """A rule, a decomposition, a function body made of such operators, or a declaration why not."""
    from onnxray.engine.gradients.coverage import missing

    assert missing() == []
