"""Gradients, guided and deconvnet rules against the frameworks' own autodiff: every case of the zoo.

Each model is tried as it is, and once more with nothing declared of its inputs' and outputs' sizes.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from onnxray.engine.autodiff.vjp import vjp
from onnxray.engine.errors import GradientError
from onnxray.engine.load import load
from onnxray.tests.engine.zoo import cases


@pytest.fixture(scope="module")
def checker(zoo):
    spec = importlib.util.spec_from_file_location("check_case", zoo / "frameworks" / "check_case.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(proto, feeds, names):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    return session.run(names, {k: v for k, v in feeds.items() if k in wanted})


def names_of(arrays, *kinds):
    return [key.split(":", 1)[1] for key in arrays if key.split(":", 1)[0] in kinds]


def judge(checker, folder, model, rules=None):
    _, arrays = checker.load(folder)
    of, wrt = names_of(arrays, "cot"), names_of(arrays, "grad", "gradmid")
    gradient = vjp(model, of, wrt, rules).proto
    onnx.checker.check_model(gradient, full_check=True, check_custom_domain=False)
    seeds = {f"cotangent/{name}": arrays[f"cot:{name}"] for name in of}
    found = run(gradient, {**checker.feeds(arrays), **seeds}, [f"grad/{name}" for name in wrt])
    keys = [f"grad:{name}" if f"grad:{name}" in arrays else f"gradmid:{name}" for name in wrt]
    grades = checker.grade(folder, dict(zip(keys, found, strict=True)))
    assert len(grades) == len(wrt)
    assert not {key: grade for key, grade in grades.items() if not grade["ok"]}
    own = {node.domain for node in load(model).proto.graph.node}
    assert {node.domain for node in gradient.graph.node} <= own | {"", "ai.onnx"}


@pytest.mark.parametrize("case", cases())
def test_gradients(case, zoo, checker):
    folder = zoo / "frameworks" / case
    meta, arrays = checker.load(folder)
    model = folder / "model.onnx"
    if meta["expected"]["status"].startswith("not-differentiable"):
        graph = onnx.load(model, load_external_data=False).graph
        with pytest.raises(GradientError) as caught:
            vjp(model, graph.output[len(graph.output) - 1].name, graph.input[0].name)
        assert "\n" not in str(caught.value)
        return
    if names_of(arrays, "cot"):
        judge(checker, folder, model)
    for rules in ("guided", "deconvnet"):
        for name in names_of(arrays, rules):
            of = names_of(arrays, "cot")
            gradient = vjp(model, of, name, rules).proto
            seeds = {f"cotangent/{o}": arrays[f"cot:{o}"] for o in of}
            (found,) = run(gradient, {**checker.feeds(arrays), **seeds}, [f"grad/{name}"])
            assert checker.rel(found, arrays[f"{rules}:{name}"]) < 1e-3


@pytest.mark.parametrize("case", cases())
def test_gradients_of_models_that_declare_no_sizes(case, zoo, checker):
    folder = zoo / "frameworks" / case
    meta, arrays = checker.load(folder)
    if meta["expected"]["status"].startswith("not-differentiable") or not names_of(arrays, "cot"):
        return
    model = onnx.load(folder / "model.onnx")
    del model.graph.value_info[:]
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    judge(checker, folder, model)


def test_a_gradient_wrt_every_weight(zoo, checker):
    """The gradient by a weight, against a difference along a random direction in float64."""
    folder = zoo / "frameworks" / "t_mlp_op17"
    _, arrays = checker.load(folder)
    model = onnx.load(folder / "model.onnx")
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    of = names_of(arrays, "cot")
    gradient = vjp(model, of, [t.name for t in weights]).proto
    seeds = {f"cotangent/{o}": arrays[f"cot:{o}"] for o in of}
    found = run(gradient, {**checker.feeds(arrays), **seeds}, [f"grad/{t.name}" for t in weights])
    rng = np.random.default_rng(0)
    names = [t.name for t in weights]
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float64(onnx.numpy_helper.to_array(tensor)), tensor.name))
    feeds = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in checker.feeds(arrays).items()}
    for tensor, grad in zip([t for t in model.graph.initializer if t.name in names], found, strict=True):
        value = onnx.numpy_helper.to_array(tensor)
        direction = rng.standard_normal(value.shape)
        sums = []
        for sign in (1, -1):
            tensor.CopyFrom(onnx.numpy_helper.from_array(value + sign * 1e-6 * direction, tensor.name))
            outputs = ReferenceEvaluator(model).run(of, feeds)
            sums.append(sum((o * arrays[f"cot:{n}"]).sum() for n, o in zip(of, outputs, strict=True)))
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
        np.testing.assert_allclose((grad * direction).sum(), (sums[0] - sums[1]) / 2e-6, rtol=1e-3, atol=1e-6)
