"""Cutting a model: both halves together are the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import SplitError, UnknownName
from onnxray.engine.graph.split import extract, narrowed, value_infos
from onnxray.engine.inference.session import Session
from onnxray.tests.engine.zoo import feeds_of

RESIDUAL = """g (float[N,3] x) => (float[N,3] y, float[N,3] early)
{ a = Sin(x)  early = Neg(a)  b = Cos(a)  c = Add(a, b)  d = Exp(c)  y = Mul(d, c) }"""


def whole_and_parts(model: onnxray.Model, at: str | list[str], feeds: dict[str, np.ndarray]) -> None:
    head, tail = onnxray.split(model, at)
    for part in (head, tail):
        onnx.checker.check_model(part.proto, full_check=True)
    expected = Session(model, optimize="none", threads=1).run(feeds)
    middle = Session(head, optimize="none", threads=1).run(feeds)
    given = {v.name: middle[v.name] for v in tail.inputs}
    got = {**middle, **Session(tail, optimize="none", threads=1).run(given)}
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("at", ["a", "c", ["a", "b"], ["c", "d"], "x"])
def test_halves_make_the_whole(at: str | list[str], parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(parse(RESIDUAL))
    whole_and_parts(model, at, {"x": np.array([[0.1, -2, 3]], np.float32)})


def test_a_value_that_is_passed_by_is_no_cut(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(parse(RESIDUAL))
    with pytest.raises(SplitError, match="'a'") as caught:
        onnxray.split(model, "b")
    assert "at=['b', 'a']" in str(caught.value)
    whole_and_parts(model, ["b", "a"], {"x": np.ones((1, 3), np.float32)})


def test_what_cannot_be_cut_is_named(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(parse(RESIDUAL))
    with pytest.raises(UnknownName, match="'early'"):
        onnxray.split(model, "earli")
    with pytest.raises(SplitError, match="no output of the model depends"):
        onnxray.split(model, "y")


def test_values_become_outputs(parse: Callable[..., onnx.ModelProto]) -> None:
    proto = parse(RESIDUAL)
    model = onnxray.load(proto)
    exposed = onnxray.expose(model, ["b", "d"])
    assert [v.name for v in exposed.outputs] == ["y", "early", "b", "d"]
    assert [v.name for v in onnxray.expose(model, "b", only=True).outputs] == ["b"]
    assert [v.name for v in model.outputs] == ["y", "early"]


@pytest.mark.parametrize("case", ["t_resnet_basic_op17", "hf_vit_op17", "k_mobilenet_op15", "t_yolo_op13", "t_if_op17"])
def test_every_single_value_that_cuts_a_real_network(case: str, zoo: Path) -> None:
    model = onnxray.load(zoo / "frameworks" / case / "model.onnx")
    feeds = feeds_of(zoo / "frameworks" / case)
    cuts = 0
    for layer in model.layers[:: max(1, len(model.layers) // 12)]:
        try:
            onnxray.split(model, layer.output)
        except SplitError:
            continue  # something goes around it: tested above
        whole_and_parts(model, layer.output, feeds)
        cuts += 1
    assert cuts


def test_narrowing_is_extraction_without_a_copy(parse: Callable[..., onnx.ModelProto]) -> None:
    source = """g (float[N,3] x, float[3] unused) => (float[N,3] y)
    <float[3] w = {1, 2, 3}, float[3] other = {4, 5, 6}>
    { a = Mul(x, w)  b = Add(a, other)  c = Mul(b, unused)  y = Add(c, a) }"""
    model, twin = (onnxray.load(parse(source)) for _ in range(2))
    outputs = value_infos(model, ["a"])
    expected = extract(model, outputs=outputs)
    got = narrowed(twin, outputs)
    assert got.untyped is twin.untyped
    for field in ("node", "input", "output", "initializer", "value_info"):
        assert [*getattr(got.untyped.graph, field)] == [*getattr(expected.untyped.graph, field)]
    assert [t.name for t in got.untyped.graph.initializer] == ["w"]
