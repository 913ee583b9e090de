"""Classes at words, and answers marked in a passage: the score is that token's, its values those of central differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray import Target
from onnxray.engine.errors import MethodError, TargetError
from onnxray.tests.engine.text import small

VOCAB = list(dict.fromkeys([*small.SPECIAL, *small.WORDS]))
W = small.weights(len(VOCAB), classes=3, seed=4)
LABELS = ["O", "B-PER", "B-LOC"]
TEXT = "Unforgettable evening, bad friend"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    path = small.encoder(tmp_path_factory.mktemp("t"), small.wordpiece(), W, per_token=True, labels=LABELS)
    return onnxray.load(path)


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    """Start and end of an answer: the first and the last class of every token."""
    path = small.encoder(tmp_path_factory.mktemp("q"), small.wordpiece(), W, per_token=True, segments=True)
    proto = onnx.load(path)
    del proto.graph.output[:]
    for place, name in ((0, "start_logits"), (2, "end_logits")):
        proto.graph.initializer.append(numpy_helper.from_array(np.array(place), f"at_{name}"))
        proto.graph.node.append(helper.make_node("Gather", ["logits", f"at_{name}"], [name], axis=2))
        proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "t"]))
    onnx.save(proto, path)
    return onnxray.load(path)


def logits(ids: list[int], table: np.ndarray | None = None) -> np.ndarray:
    """(T, 3) in float64."""
    x = (W["table"].astype(np.float64)[ids]) if table is None else table
    scores = (x @ W["query"]) @ (x @ W["key"]).T
    attention = np.exp(scores - scores.max(-1, keepdims=True))
    attention /= attention.sum(-1, keepdims=True)
    return np.tanh((attention @ x + x) @ W["dense"]) @ W["head"]


def test_a_class_at_a_word(tagger: onnxray.Model) -> None:
    e = onnxray.explain(tagger, TEXT, "gradient", "B-PER@friend")
    ids = [t.id for t in e.reading.tokens]
    token = e.words[4].tokens[0]
    assert e.words[4].text == "friend"
    assert e.label == "B-PER at 'friend' (5)"
    assert e.score == pytest.approx(logits(ids)[token, 1], rel=1e-4)
    x = W["table"].astype(np.float64)[ids]
    step = np.zeros_like(x)
    step[3, 2] = 1e-5
    slope = (logits(ids, x + step)[token, 1] - logits(ids, x - step)[token, 1]) / 2e-5
    assert e.values[3, 2] == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("text", ["B-PER@5", "1@friend", "word:B-PER@FRIEND"])
def test_words_and_classes_have_names_and_numbers(tagger: onnxray.Model, text: str) -> None:
    e = onnxray.explain(tagger, TEXT, "gradient", text)
    assert e.label == "B-PER at 'friend' (5)"
    assert Target.parse(str(e.target)) == e.target


def test_of_a_word_of_several_tokens_the_first_counts(tagger: onnxray.Model) -> None:
    e = onnxray.explain(tagger, TEXT, "ablation", Target.at_word("B-LOC", "Unforgettable"))
    assert e.score == pytest.approx(logits([t.id for t in e.reading.tokens])[1, 2], rel=1e-4)


def test_without_a_word_the_most_certain_one(tagger: onnxray.Model) -> None:
    e = onnxray.explain(tagger, TEXT, "ablation", "B-LOC")
    all_scores = logits([t.id for t in e.reading.tokens])
    firsts = [w.tokens[0] for w in e.words]
    assert e.score == pytest.approx(all_scores[firsts, 2].max(), rel=1e-4)
    default = onnxray.explain(tagger, TEXT, "ablation")
    assert " at '" in default.label


def test_answers(marker: onnxray.Model) -> None:
    given = onnxray.Text("was it bad?", "The river city was old")
    e = onnxray.explain(marker, given, target="start:")
    scores = logits_with_segments(e)
    passage = [w for w in e.words if w.side == 1]
    best = max(passage, key=lambda w: scores[w.tokens[0], 0])
    assert e.label == f"start of the answer at {best.text!r} ({e.words.index(best) + 1})"
    assert e.score == pytest.approx(scores[best.tokens[0], 0], rel=1e-4)
    assert onnxray.explain(marker, given).label == e.label
    end = onnxray.explain(marker, given, target="end:city")
    city = next(w for w in e.words if w.text == "city")
    assert end.score == pytest.approx(scores[city.tokens[-1], 2], rel=1e-4)
    assert Target.parse(str(end.target)) == end.target == Target.answer("end", e.words.index(city) + 1)


def logits_with_segments(e: onnxray.Explanation) -> np.ndarray:
    ids = [t.id for t in e.reading.tokens]
    segments = [t.segment for t in e.reading.tokens]
    return logits(ids, W["table"].astype(np.float64)[ids] + W["segment_table"][segments])


def test_what_cannot_be_is_said(tagger: onnxray.Model, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"no word 'evenin'; nearest: 'evening'"):
        onnxray.explain(tagger, TEXT, target="B-PER@evenin")
    with pytest.raises(TargetError, match="there is no word 9: the text has 5"):
        onnxray.explain(tagger, TEXT, target="B-PER@9")
    with pytest.raises(TargetError, match="models that mark an answer"):
        onnxray.explain(tagger, TEXT, target="start:1")
    plain = onnxray.load(small.encoder(tmp_path, small.wordpiece(), W))
    with pytest.raises(TargetError, match="models that label every token"):
        onnxray.explain(plain, TEXT, target="1@evening")


def test_words_are_not_cut_out_where_the_target_is_at_a_place(tagger: onnxray.Model, marker: onnxray.Model) -> None:
    for model, target in ((tagger, "B-PER@2"), (tagger, "predicted"), (marker, "start:")):
        with pytest.raises(MethodError, match="shorter.*'pad' or 'mask'"):
            onnxray.explain(model, TEXT, "ablation", target, fill="drop")


def test_an_answer_needs_a_word_of_the_passage(marker: onnxray.Model) -> None:
    text = onnxray.Text("was it bad?", "The river city was old", spans=((0, 3),))
    with pytest.raises(TargetError, match="no word or span of the passage"):
        onnxray.explain(marker, text, target="start:")


@pytest.mark.parametrize("last", ["", "Softmax", "LogSoftmax"])
def test_probabilities_and_logits_at_a_word(tmp_path: Path, last: str) -> None:
    path = small.encoder(tmp_path, small.wordpiece(), W, per_token=True, labels=LABELS)
    proto = onnx.load(path)
    if last:
        proto.graph.node.append(helper.make_node(last, ["logits"], ["scores"], axis=-1))
        proto.graph.output[0].name = "scores"
    onnx.save(proto, path)
    model = onnxray.load(path)
    plain = onnxray.explain(model, TEXT, "gradient", "B-PER@friend")
    token = plain.words[4].tokens[0]
    z = logits([t.id for t in plain.reading.tokens])[token]
    p = np.exp(z) / np.exp(z).sum()
    as_probability = onnxray.explain(model, TEXT, "gradient", "prob:B-PER@friend")
    assert as_probability.label == "probability of B-PER at 'friend' (5)"
    assert as_probability.score == pytest.approx(p[1], rel=1e-4)
    before = onnxray.explain(model, TEXT, "gradient", Target.logit(Target.at_word("B-PER", "friend")))
    due = np.log(p[1] / (1 - p[1])) if last else z[1]  # of a softmax, the log-odds
    assert before.score == pytest.approx(due, rel=1e-4)
    if last:
        slope = p[1] * (1 - p[1])  # of a probability by its log-odds
        np.testing.assert_allclose(as_probability.values, before.values * slope, atol=1e-6)
    assert str(Target.parse("prob:B-PER@friend")) == "prob:B-PER@friend"
    assert Target.parse("logit:B-PER@friend") == Target.logit(Target.at_word("B-PER", "friend"))
    with pytest.raises(TargetError, match="give CLASS@WORD"):
        Target.parse("prob:logit:B-PER@friend")
