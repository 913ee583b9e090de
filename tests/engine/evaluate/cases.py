"""Cases for metrics: a model of one convolution and a linear layer, and maps that a test hands in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.attribution.maps import GridMaps, InputMaps, Maps
from onnxray.engine.attribution.problem import Problem
from onnxray.engine.evaluate.case import Case
from onnxray.engine.explain import problem_of, solve
from onnxray.engine.methods.registry import Method

SIZE = (12, 10)


def linear(weights: np.ndarray, softmax: bool = False) -> onnx.ModelProto:
    """scores = weights (classes, C, H, W) . x (N, C, H, W), written as a convolution of the image's own size."""
    classes, channels, height, width = weights.shape
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"]))
    out = helper.make_tensor_value_info("p" if softmax else "y", TensorProto.FLOAT, ["N", classes])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, height, width])
    kernel = numpy_helper.from_array(weights.astype(np.float32), "w")
    graph = helper.make_graph(nodes, "linear", [x], [out], [kernel])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def given(values: np.ndarray, display: str = "signed", reduce: str = "none") -> Method:
    """A method whose map is `values`."""

    @dataclass(frozen=True)
    class Given(Method):
        """A map that is given."""

        def __call__(self, problem: Problem) -> Maps:
            kind = GridMaps if values.ndim == 2 else InputMaps
            return kind(np.asarray(values, np.float32)[None], display=display, reduce=reduce)  # type: ignore[arg-type]

    Given.name = "given"
    return Given()


def case_of(model: Any, x: np.ndarray, values: np.ndarray, target: Any = 0, **more: Any) -> Case:
    """The map `values` of one sample x (C, H, W)."""
    display, reduce = more.pop("display", "signed"), more.pop("reduce", "none")
    problem = problem_of(onnxray.load(model, layout="NCHW"), x[None], target)
    explanation = solve(problem, given(values, display, reduce))
    assert isinstance(explanation, onnxray.Explanation)
    return Case(problem, explanation, **more)
