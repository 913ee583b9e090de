"""Compiled models of texts: token ids in, the answer and the relevance of every token out, as `explain` has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxray
from onnxray.engine.compiled import texts
from onnxray.engine.errors import MethodError, ModelError
from onnxray.engine.inference.session import session
from onnxray.tests.engine.text import small

COUNT = len(dict.fromkeys([*small.SPECIAL, *small.WORDS]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    path = small.encoder(tmp_path_factory.mktemp("c"), small.wordpiece(), small.weights(COUNT), segments=True)
    return onnxray.load(path)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("input-x-gradient", {}),
        ("integrated-gradients", {"steps": 20, "baseline": "zero"}),
        ("integrated-gradients", {"steps": 20, "baseline": "pad"}),
        ("integrated-gradients", {"steps": 20, "baseline": "mask"}),
        ("lrp", {}),
    ],
)
def test_relevance_is_that_of_explain(model: onnxray.Model, method: str, options: dict, tmp_path: Path) -> None:
    given = onnxray.Text("the film was not bad", "very old story")
    e = onnxray.explain(model, given, method, 1, **options)
    compiled = onnxray.compile(model, method, target=1, **options)
    session = onnxruntime.InferenceSession(compiled.save(tmp_path / "c.onnx"), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    feeds = e.reading.feeds(model)
    logits, relevance = session.run(["logits", "token_relevance"], feeds)
    due = e.values.sum(axis=-1)
    np.testing.assert_allclose(relevance[0], due, atol=1e-5 * np.abs(due).max())
    assert logits[0, 1] == pytest.approx(e.score, rel=1e-5)
    two = session.run(["token_relevance"], {name: np.repeat(array, 2, 0) for name, array in feeds.items()})[0]
    np.testing.assert_allclose(two, np.repeat(relevance, 2, 0), atol=1e-5 * np.abs(due).max())


def test_what_is_of_images_is_refused(model: onnxray.Model) -> None:
    for asked in ({"normalize": "minmax"}, {"upsample": "none"}):
        with pytest.raises(MethodError, match="the model takes texts: preprocess, upsample, normalize and novelty"):
            onnxray.compile(model, "gradient", **asked)


def test_a_model_with_a_value_of_that_name_is_refused(tmp_path: Path) -> None:
    proto = onnx.load(small.encoder(tmp_path, small.wordpiece(), small.weights(COUNT)))
    for node in proto.graph.node:
        node.input[:] = ["token_relevance" if name == "h" else name for name in node.input]
        node.output[:] = ["token_relevance" if name == "h" else name for name in node.output]
    with pytest.raises(ModelError, match="has a value called 'token_relevance' already"):
        onnxray.compile(proto, "gradient", target=1)


def test_what_stands_before_the_embeddings_in_a_subgraph_is_put_back(tmp_path: Path) -> None:
    """Ids that a choice passes on: the choice reads values of the graph around it."""
    path = small.encoder(tmp_path, small.wordpiece(), small.weights(COUNT))
    proto = onnx.load(path)
    empty = onnx.helper.make_graph
    kept = empty(
        [onnx.helper.make_node("Add", ["input_ids", "none"], ["a"])],
        "a",
        [],
        [onnx.helper.make_tensor_value_info("a", 7, None)],
    )
    other = empty(
        [onnx.helper.make_node("Sub", ["input_ids", "none"], ["b"])],
        "b",
        [],
        [onnx.helper.make_tensor_value_info("b", 7, None)],
    )
    nodes = [
        onnx.helper.make_node("Size", ["attention_mask"], ["size"]),
        onnx.helper.make_node("Greater", ["size", "none0"], ["any"]),
        onnx.helper.make_node("If", ["any"], ["chosen"], then_branch=kept, else_branch=other),
        onnx.helper.make_node("Identity", ["chosen"], ["ids"]),
    ]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.int64([0]), "none"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.int64(0), "none0"))
    for node in proto.graph.node:
        node.input[:] = ["ids" if name == "input_ids" else name for name in node.input]
    both = [*nodes, *(onnx.NodeProto.FromString(n.SerializeToString()) for n in proto.graph.node)]
    del proto.graph.node[:]
    proto.graph.node.extend(both)
    compiled = with_lookup_of(proto)
    feeds = {"input_ids": np.int64([[2, 5, 6, 3]]), "attention_mask": np.ones((1, 4), np.int64)}
    plain = onnxray.compile(onnx.load(path), "gradient", target=1)
    found, due = (session(model).run(feeds, ["token_relevance"])["token_relevance"] for model in (compiled, plain))
    np.testing.assert_allclose(found, due, atol=1e-6)


def with_lookup_of(proto: onnx.ModelProto) -> onnxray.Model:
    """The gradient by the embeddings `embedded`, with what looks them up in front of it."""
    model = onnxray.load(proto)
    inner = onnxray.compile(texts.at_lookup(model, "embedded"), "gradient", target=1)
    return texts.with_lookup(inner, model, "embedded", "saliency_map")
