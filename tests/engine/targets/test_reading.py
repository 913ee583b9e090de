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
from onnxray.engine.targets.reading import best_path, blank_of, names_of, recognised_output
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


def last_blank(parse: Parse) -> onnx.ModelProto:
    """A reader whose last class wins where there is nothing to read."""
    return reader(parse, softmax=False, blank=4)


@pytest.mark.parametrize("labels", [["a", "b", "c", "d"], ["a", "b", "c", "d", "<blank>"], ["a", "b", "c", "d", ""]])
def test_characters_before_the_blank_keep_their_names(parse: Parse, labels: list[str]) -> None:
    model = onnxray.load(last_blank(parse), labels=labels)
    z = onnxray.activations(model, X, ["line"])["line"][0].T.astype(float)
    path = by_hand(z, 4)
    assert 0 in {code for code, _ in path}
    assert onnxray.predict(model, X).text == "".join("abcd"[code] for code, _ in path)
    explained = onnxray.explain(model, X, "gradient", "char:all")
    assert [e.label[1] for e in explained] == ["abcd"[code] for code, _ in path]


def test_a_space_stands_between_the_characters_and_a_blank_behind_them(parse: Parse) -> None:
    model = onnxray.load(last_blank(parse), labels=list("abc"))
    assert list(names_of(model, list("abc"), 5, 4)) == ["a", "b", "c", " ", ""]
    assert list(names_of(model, list("abc"), 5, 0)) == ["", "a", "b", "c", " "]


@pytest.mark.parametrize("blank", [0, 4])
def test_what_an_image_reads_does_not_depend_on_its_batch(parse: Parse, blank: int) -> None:
    """The class that won more often in the batch was the blank."""
    proto = reader(parse, softmax=False, blank=blank)
    model = onnxray.load(proto, labels=list("abcd"))
    random = np.random.default_rng(0)
    lines = np.concatenate([X, 3 * random.standard_normal((7, *X.shape[1:])).astype(np.float32)])
    lines[4:] += random.normal(0, 4, (4, 3, 1, 1)).astype(np.float32)  # lines of one colour, in which other classes win
    alone = [onnxray.predict(model, line[None]).text for line in lines]
    assert [p.text for p in onnxray.predict(model, lines)] == alone
    for line, text in zip(lines, alone, strict=True):
        z = onnxray.activations(model, line[None], ["line"])["line"][0].T
        letters = "abcd" if blank else " abcd"
        assert text == "".join(letters[code] for code, _ in by_hand(z, blank))


def test_the_blank_of_a_list_in_the_file_is_the_first_class(parse: Parse) -> None:
    proto = last_blank(parse)
    entry = proto.metadata_props.add()
    entry.key, entry.value = "character", "a\nb\nc\nd\n"
    model = onnxray.load(proto)
    assert blank_of(model, None, 5) == 0


def test_the_blank_is_the_first_class_where_the_usual_size_does_not_run(parse: Parse) -> None:
    """The image that is read has another size than the one that is tried, and is read all the same."""
    proto = last_blank(parse)
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
    shape = onnx.numpy_helper.from_array(np.array([-1, 3, 8, 24], np.int64), "shape")
    proto.graph.initializer.append(shape)
    proto.graph.node.insert(0, onnx.helper.make_node("Reshape", ["image", "shape"], ["fixed"]))
    proto.graph.node[1].input[0] = "fixed"
    model = onnxray.load(proto, labels=list("abcd"), size=(10, 10))
    assert blank_of(model, list("abcd"), 5) == 0
    named = [*"abcd", "<blank>"]
    assert blank_of(onnxray.load(proto, labels=named, size=(10, 10)), named, 5) == 4
    assert set(onnxray.predict(model, X).text) <= set("abcd")


def test_a_batch_of_fixed_size_is_read(parse: Parse) -> None:
    proto = last_blank(parse)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert blank_of(onnxray.load(proto), list("abcd"), 5) == 4


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
