"""What depends on what: against the transitive closure of the edges, and around skip connections and subgraphs."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest

import onnxray
from onnxray.engine.graph.dependencies import before, behind, between, outputs_of
from onnxray.engine.proto.nodes import reads

Parse = Callable[..., onnx.ModelProto]
TEXT = """m (float[N] x, float[N] side) => (float[N] y, float[N] z)
    { a = Relu (x) b = Abs (side) c = Add (a, b) d = Neg (x) y = Mul (c, d) z = Exp (b) }"""


@pytest.fixture
def model(parse: Parse) -> onnxray.Model:
    return onnxray.load(parse(TEXT))


def names(nodes: list[onnx.NodeProto]) -> str:
    return " ".join(node.output[0] for node in nodes)


def test_before(model: onnxray.Model) -> None:
    assert names(before(model, ["y"])) == "a b c d y"
    assert names(before(model, ["y"], stop={"c"})) == "d y"
    assert names(before(model, ["c"], stop={"c"})) == ""
    assert names(before(model, ["x"])) == ""
    assert {"y", *outputs_of(before(model, ["y"])), "x", "side"} == model.ancestors("y")


def test_behind(model: onnxray.Model) -> None:
    assert names(behind(model, ["x"])) == "a c d y"
    assert names(behind(model, ["side"])) == "b c y z"
    assert names(behind(model, ["a", "d"])) == "c y"
    assert names(behind(model, ["y"])) == ""


def test_between(model: onnxray.Model) -> None:
    assert names(between(model, "x", "y")) == "a c d y"
    assert names(between(model, "a", "y")) == "c y"
    assert names(between(model, "x", "z")) == ""
    assert names(between(model, "y", "y")) == ""


def test_every_pair_against_the_edges(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    edges = {(name, o) for node in model.graph.node for name in reads(node) for o in node.output}
    reach = set(edges)
    while more := {(a, d) for a, b in reach for c, d in edges if b == c} - reach:
        reach |= more
    for start in model.values:
        assert outputs_of(behind(model, [start])) == {b for a, b in reach if a == start}
        for end in model.values:
            on_the_way = {v for v in model.values if (start, v) in reach and (v == end or (v, end) in reach)}
            assert outputs_of(between(model, start, end)) == on_the_way


def test_a_subgraph_reads_values_from_outside(parse: Parse) -> None:
    proto = parse(
        """m (float[2] x, bool c) => (float[2] y) {
            a = Relu (x)
            y = If (c) <then_branch = t () => (float[2] p) { p = Neg (a) },
                        else_branch = e () => (float[2] q) { q = Identity (a) }>
        }"""
    )
    model = onnxray.load(proto)
    assert names(behind(model, ["x"])) == "a y"
    assert names(between(model, "x", "y")) == "a y"
    assert names(before(model, ["y"])) == "a y"
