"""Texts that recognisers read: which models are recognisers, and what `predict` answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ModelError
from onnxray.engine.graph.model import Model
from onnxray.engine.targets.boxes import answers_with_boxes
from onnxray.engine.targets.reading import best_path, recognised_output
from onnxray.tests.engine.detection import families
from onnxray.tests.engine.targets.kinds.test_char import X, by_hand, reader

Parse = Callable[..., onnx.ModelProto]


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("first", ["N", "T"])
def test_the_text_is_that_of_the_best_path(parse: Parse, first: str, softmax: bool) -> None:
    model = onnxray.load(reader(parse, first, softmax), labels=list("abcd"))
    z = onnxray.activations(model, X, ["line"])["line"][0].T.astype(float)
    shares = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    path = by_hand(z, 0)
    found = onnxray.predict(model, X)
    assert found.text == "".join("abcd"[code - 1] for code, _ in path)
    wanted = [shares[steps, code].mean() for code, steps in path]
    np.testing.assert_allclose(found.reading.probabilities, wanted, rtol=1e-5)
    assert found.probability == pytest.approx(np.mean(wanted), rel=1e-5)
    assert repr(found).startswith(f"<{found.text!r} ")
    assert found.top == ()
    assert found.label is None


@pytest.mark.parametrize("first", ["N", "T"])
def test_lines_of_a_batch_are_read_each(parse: Parse, first: str) -> None:
    model = onnxray.load(reader(parse, first), labels=list("abcd"))
    lines = np.concatenate([X, X[..., ::-1], np.roll(X, 5, axis=3)])
    together = onnxray.predict(model, lines)
    assert [p.text for p in together] == [onnxray.predict(model, line[None]).text for line in lines]
    assert len({p.text for p in together}) > 1


def test_a_line_without_a_character_reads_as_nothing(parse: Parse) -> None:
    found = onnxray.predict(onnxray.load(reader(parse), labels=list("abcd")), np.zeros_like(X))
    assert found.text == ""
    assert found.probability is None
    assert repr(found) == "<''>"


def test_a_recogniser_is_known_by_the_names_of_its_characters(parse: Parse) -> None:
    proto = reader(parse)
    assert recognised_output(onnxray.load(proto, labels=list("abcd"))) == "y"
    assert not answers_with_boxes(onnxray.load(proto, labels=list("abcd")))
    assert recognised_output(onnxray.load(proto)) is None
    assert recognised_output(onnxray.load(proto, labels=list("ab"))) is None
    assert recognised_output(onnxray.load(proto, labels=list("abcd"), answer="map")) is None
    with pytest.raises(ModelError, match="nothing to predict"):
        onnxray.predict(onnxray.load(proto), X)
    entry = proto.metadata_props.add()
    entry.key, entry.value = "character", "a\nb\nc\nd\n"
    assert recognised_output(onnxray.load(proto)) == "y"


@pytest.mark.parametrize("labels", ["abcd", "abcde", "abcdef"])
def test_boxes_that_a_detector_has_chosen_are_no_text(labels: str) -> None:
    chosen = families.end_to_end().model
    model = Model(chosen.proto, overrides={**chosen.overrides, "labels": tuple(labels)})
    assert model.outputs[0].shape is not None
    assert model.outputs[0].shape[-1] == 6
    assert recognised_output(model) is None
    assert answers_with_boxes(model)


def test_no_step_reads_as_nothing() -> None:
    assert best_path(np.eye(3)[[0, 0, 0]], 0) == []
