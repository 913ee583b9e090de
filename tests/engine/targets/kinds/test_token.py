"""Tokens that a language model says: their scores, what causes them, and that nothing later does."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray import Target, Text
from onnxray.engine.errors import MethodError, TargetError, TextError
from onnxray.tests.engine.text import small

WORDS = "red blue green cat dog bird sun moon star tree river stone".split()


@pytest.fixture(scope="module", params=[17, 18])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    """Of both forms of the axes of ReduceMean."""
    return onnxray.load(small.copying(tmp_path_factory.mktemp("lm"), WORDS, opset=request.param))


def logits(model: onnxray.Model, ids: list[int]) -> np.ndarray:
    return onnxray.activations(model, {"input_ids": np.array([ids])}, ["logits"])["logits"][0].astype(np.float64)


def test_the_next_token_is_explained_by_default(model: onnxray.Model) -> None:
    (e,) = onnxray.explain(model, "cat sun moon cat")
    found = logits(model, [t.id for t in e.reading.tokens if t])[-1]
    assert e.label == "'sun' behind the prompt"
    assert e.score == pytest.approx(found.max() - found.mean(), rel=1e-4)
    named = onnxray.explain(model, "cat sun moon cat", target="token:moon against sun")
    pair = [e.reading.reader.encode(word, None, None).tokens[0].id for word in ("moon", "sun")]
    assert named.score == pytest.approx(found[pair[0]] - found[pair[1]], rel=1e-4)
    log = onnxray.explain(model, "cat sun moon cat", "gradient", Target.token("moon", log=True))
    assert log.score == pytest.approx(found[pair[0]] - np.log(np.exp(found).sum()), rel=1e-4)


def test_the_last_tokens_are_those_of_all(model: onnxray.Model) -> None:
    text = Text("cat sun moon cat", continuation=" sun moon", last=1)
    (e,) = onnxray.explain(model, text, "gradient", "token:all")
    assert e.label == "'moon' (2 of 2)"
    for target in ("token:1", "token:moon"):
        with pytest.raises(TargetError, match="names a token and last=1"):
            onnxray.explain(model, text, "gradient", target)
    with pytest.raises(TargetError, match="last=9: the continuation has 2 tokens"):
        onnxray.explain(model, Text("cat sun moon cat", continuation=" sun moon", last=9), "gradient", "token:all")


def test_every_token_of_a_continuation_in_one_go(model: onnxray.Model) -> None:
    text = Text("cat sun moon cat", continuation=" sun moon dog")
    parts = onnxray.explain(model, text, "input-x-gradient", "token:all")
    assert [e.label for e in parts] == ["'sun' (1 of 3)", "'moon' (2 of 3)", "'dog' (3 of 3)"]
    ids = [t.id for t in parts[0].reading.tokens]
    for k, e in enumerate(parts):
        found = logits(model, ids)[3 + k]
        assert e.score == pytest.approx(found[ids[4 + k]] - found.mean(), rel=1e-4)
        assert [w.side for w in e.words] == [0, 0, 0, 0, 1, 1, 1]
        one = onnxray.explain(model, text, "input-x-gradient", f"token:{k + 1}")
        np.testing.assert_allclose(one.values, e.values, atol=1e-5 * np.abs(e.values).max())
        assert Target.parse(str(e.target)) == e.target


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "integrated-gradients", "ablation", "kernel-shap"])
def test_nothing_behind_a_token_speaks_for_it(model: onnxray.Model, method: str) -> None:
    text = Text("cat sun moon cat", continuation=" sun moon dog")
    for k, e in enumerate(onnxray.explain(model, text, method, "token:all")):
        later = [w.value for w in e.words[4 + k :]]
        if method == "kernel-shap":
            assert np.abs(later).max() < 1e-9 * max(abs(e.score), 1)
        else:
            assert not np.any(later)


def test_ablation_is_the_fall_of_the_score(model: onnxray.Model) -> None:
    (e,) = onnxray.explain(model, "cat sun moon cat", "ablation", fill="unk")
    ids = [t.id for t in e.reading.tokens]
    clean = logits(model, ids)[-1]
    for n, word in enumerate(e.words):
        hidden = logits(model, [0 if k == n else i for k, i in enumerate(ids)])[-1]
        code = int(clean.argmax())
        assert word.value == pytest.approx(
            (clean[code] - clean.mean()) - (hidden[code] - hidden.mean()), rel=1e-3, abs=1e-4
        )


def test_what_a_model_generates(model: onnxray.Model) -> None:
    parts = onnxray.explain(model, Text("cat sun moon cat", generate=3), "input-x-gradient")
    assert parts[0].reading.given.continuation == " sun moon cat"
    assert [e.label for e in parts] == ["'sun' (1 of 3)", "'moon' (2 of 3)", "'cat' (3 of 3)"]


def test_the_copied_token_is_found(model: onnxray.Model) -> None:
    """Behind "... cat sun ... cat" stands "sun", because of the "sun" behind the first "cat"."""
    found = 0
    pairs = list(itertools.permutations(WORDS, 2))[::6][:20]
    for a, b in pairs:
        rest = [w for w in WORDS if w not in (a, b)][:5]
        words = [rest[0], rest[1], a, b, rest[2], rest[3], a]
        (e,) = onnxray.explain(model, " ".join(words), "ablation")
        assert e.label == f"{b!r} behind the prompt"
        strongest = max(e.words[:-1], key=lambda w: abs(w.value))
        found += strongest.text in (a, b)
    assert found >= 19


def test_a_model_of_a_fixed_length(tmp_path: Path) -> None:
    fixed = onnxray.load(small.copying(tmp_path, WORDS, length=9))
    (e,) = onnxray.explain(fixed, "cat sun moon cat", "input-x-gradient")
    assert e.label == "'sun' behind the prompt"
    parts = onnxray.explain(fixed, Text("cat sun moon cat", generate=99), "input-x-gradient")
    assert len(parts) == 5
    with pytest.raises(TextError, match="leaves no room"):
        onnxray.explain(fixed, Text("cat sun moon cat sun moon cat sun moon", generate=2))


def test_what_cannot_be_is_said(model: onnxray.Model, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="there is no token 4: the continuation has 1"):
        onnxray.explain(model, Text("cat", continuation=" sun"), target="token:4")
    vocab = len(dict.fromkeys([*small.SPECIAL, *small.WORDS]))
    plain = onnxray.load(small.encoder(tmp_path, small.wordpiece(), small.weights(vocab)))
    with pytest.raises(TargetError, match="language models"):
        onnxray.explain(plain, "the film", target="token:1")
    with pytest.raises(TextError, match="says no next token"):
        onnxray.explain(plain, Text("the film", generate=2))
    with pytest.raises(TextError, match="give one of them"):
        Text("a", "b", continuation="c")


def test_an_export_with_a_cache_reads_everything_from_its_beginning(tmp_path: Path) -> None:
    """The cache is fed empty; what is said is what the model without one says."""
    import onnx
    from onnx import TensorProto, helper

    plain = small.copying(tmp_path / "plain", WORDS)
    small.copying(tmp_path / "cached", WORDS)
    proto = onnx.load(plain)
    shape = ["n", 2, "past", 4]
    proto.graph.input.extend(
        [
            helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
        ]
    )
    proto.graph.node.extend(
        [
            helper.make_node("Identity", ["past_key_values.0.key"], ["present.0.key"]),
            helper.make_node("ReduceSum", ["past_key_values.0.key"], ["of_past"], keepdims=0),
            helper.make_node("Cast", ["use_cache_branch"], ["branch"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["branch"], ["of_branch"], keepdims=0),
            helper.make_node("Add", ["logits_alone", "of_past"], ["with_past"]),
            helper.make_node("Add", ["with_past", "of_branch"], ["logits"]),
        ]
    )
    next(n for n in proto.graph.node if n.output[0] == "logits").output[0] = "logits_alone"
    proto.graph.output.append(helper.make_tensor_value_info("present.0.key", TensorProto.FLOAT, shape))
    onnx.save(proto, tmp_path / "cached" / "model.onnx")
    text = Text("cat sun moon cat", generate=2)
    expected = onnxray.explain(plain, text, "input-x-gradient")
    for e, due in zip(
        onnxray.explain(tmp_path / "cached" / "model.onnx", text, "input-x-gradient"), expected, strict=True
    ):
        assert e.label == due.label
        np.testing.assert_allclose(e.values, due.values, atol=1e-5 * np.abs(due.values).max())


@pytest.mark.parametrize(
    "text", ["cat sun moon cat", Text("cat sun", continuation=" moon"), Text("cat sun", generate=1)]
)
def test_words_are_not_cut_out_where_the_target_is_at_a_place(model: onnxray.Model, text: str | Text) -> None:
    with pytest.raises(MethodError, match="shorter.*'pad' or 'mask'"):
        onnxray.explain(model, text, "ablation", fill="drop")


def test_a_token_stands_before_the_continuation(model: onnxray.Model) -> None:
    with pytest.raises(TextError, match="give the prompt more text"):
        onnxray.explain(model, Text("ca", continuation="t sun"))


def test_the_length_of_the_model_ends_what_it_generates_and_says_so(tmp_path: Path) -> None:
    fixed = onnxray.load(small.copying(tmp_path, WORDS, length=9))
    e = onnxray.explain(fixed, Text("cat sun moon cat", generate=99), "input-x-gradient")[0]
    assert "5 tokens were generated of 99" in " ".join(e.warnings)


def test_what_is_generated_runs_with_the_options_and_further_inputs(
    model: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxray.engine.attribution import generation

    seen = []
    whole = generation.values_at

    def kept(model: onnxray.Model, given: object, names: list[str], runtime: object) -> object:
        seen.append(runtime)
        return whole(model, given, names, runtime)

    monkeypatch.setattr(generation, "values_at", kept)
    onnxray.explain(model, Text("cat sun", generate=1), "gradient", threads=1)
    assert [one.threads for one in seen] == [1]
