"""Words' values: complete, equal to brute force and to PyTorch's, and where a word was planted, there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError, TextError
from onnxray.tests.engine.text import small

VOCAB = list(dict.fromkeys([*small.SPECIAL, *small.WORDS]))
TEXT = "The film was unforgettable, not bad!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="module")
def model(folder: Path) -> onnxray.Model:
    path = small.encoder(folder, small.wordpiece(), small.weights(len(VOCAB)), labels=["negative", "positive"])
    return onnxray.load(path)


def score(model: onnxray.Model, ids: list[int], target: int) -> float:
    w = small.weights(len(VOCAB))
    return float(small.forward(w, np.array([ids]), np.ones((1, len(ids))))[0, target])


def ids_of(e: onnxray.Explanation) -> list[int]:
    return [t.id for t in e.reading.tokens if t is not None]


def test_integrated_gradients_are_the_default_and_their_words_are_complete(model: onnxray.Model) -> None:
    e = onnxray.explain(model, TEXT, target="positive")
    assert (e.method, e.options["baseline"], e.label) == ("integrated-gradients", "pad", "positive (1)")
    assert [w.text for w in e.words] == ["The", "film", "was", "unforgettable", ",", "not", "bad", "!"]
    ids = ids_of(e)
    gap = score(model, ids, 1) - score(model, [ids[0], *[0] * (len(ids) - 2), ids[-1]], 1)
    assert sum(w.value for w in e.words) == pytest.approx(gap, rel=1e-4)
    assert sum(t.value for t in e.tokens) == pytest.approx(e.values.sum(), rel=1e-6)
    assert e.words[3].value == pytest.approx(sum(e.tokens[n].value for n in e.words[3].tokens), rel=1e-6)


@pytest.mark.parametrize("baseline", ["mask", "unk", "zero", "mean", "text:the old film"])
def test_baselines(model: onnxray.Model, baseline: str) -> None:
    e = onnxray.explain(model, TEXT, target=1, baseline=baseline)
    w, ids = small.weights(len(VOCAB)), ids_of(e)
    table = w["table"].copy()
    rows = table[ids]
    inner = slice(1, -1)
    if baseline == "zero":
        rows[:] = 0
    elif baseline == "mean":
        rows[inner] = table.mean(axis=0)
    elif baseline.startswith("text"):
        other = [t.id for t in e.reading.reader.encode("the old film", None, len(ids)).tokens]
        rows = table[other + [0] * (len(ids) - len(other))]
    else:
        rows[inner] = table[VOCAB.index({"mask": "[MASK]", "unk": "[UNK]"}[baseline])]
    w["table"] = np.concatenate([rows, table[ids]])
    n, ones = len(ids), np.ones((1, len(ids)))
    gap = small.forward(w, np.arange(n, 2 * n)[None], ones)[0, 1] - small.forward(w, np.arange(n)[None], ones)[0, 1]
    assert e.values.sum() == pytest.approx(gap, rel=1e-3)


def test_kernel_shap_equals_brute_force(model: onnxray.Model) -> None:
    e = onnxray.explain(model, "the film was not bad", "kernel-shap", 1)
    ids, n = ids_of(e), len(e.words)

    def at(kept: tuple[int, ...]) -> float:
        return score(model, [ids[0], *(i if k in kept else 0 for k, i in enumerate(ids[1:-1])), ids[-1]], 1)

    for i, word in enumerate(e.words):
        rest = [k for k in range(n) if k != i]
        value = sum(
            math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n) * (at((*s, i)) - at(s))
            for size in range(n) for s in itertools.combinations(rest, size)
        )  # fmt: skip
        assert word.value == pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("fill", ["pad", "drop", "mask"])
def test_ablation_and_occlusion_hide_words(model: onnxray.Model, fill: str) -> None:
    e = onnxray.explain(model, TEXT, "ablation", 1, fill=fill)
    ids = ids_of(e)
    for word in e.words:
        left = [t for n, t in enumerate(ids) if n not in word.tokens]
        code = {"pad": 0, "mask": 4}.get(fill, 0)
        filled = [code if n in word.tokens else t for n, t in enumerate(ids)]
        gap = score(model, ids, 1) - score(model, left if fill == "drop" else filled, 1)
        assert word.value == pytest.approx(gap, rel=1e-4, abs=1e-5)
    again = onnxray.explain(model, TEXT, "occlusion", 1, fill=fill)
    assert [w.value for w in again.words] == pytest.approx([w.value for w in e.words], rel=1e-4, abs=1e-6)


def test_every_method_that_fits_gives_words(model: onnxray.Model) -> None:
    done = set()
    for name in onnxray.methods():
        try:
            e = onnxray.explain(model, TEXT, name, 1)
        except MethodError:
            continue
        assert len(e.words) == 8, name
        assert np.isfinite([w.value for w in e.words]).all(), name
        done.add(name)
    assert {
        "ablation", "attention-rollout", "gradient", "gradient-x-attention", "input-x-gradient", "integrated-gradients",
        "kernel-shap", "lime", "lrp", "occlusion", "smoothgrad", "sobol",
    } <= done  # fmt: skip


def test_padding_changes_nothing(folder: Path) -> None:
    w = small.weights(len(VOCAB))
    free = onnxray.load(small.encoder(folder / "free", small.wordpiece(), w))
    fixed = onnxray.load(small.encoder(folder / "fixed", small.wordpiece(), w, length=32))
    for method in ("integrated-gradients", "kernel-shap"):
        a, b = (onnxray.explain(m, TEXT, method, 1).words for m in (free, fixed))
        assert [x.value for x in a] == pytest.approx([x.value for x in b], abs=1e-5)
        assert len(a) == len(b)


def test_a_planted_word_is_found(folder: Path) -> None:
    model = onnxray.load(small.encoder(folder / "planted", small.wordpiece(), small.planted()))
    templates = [
        f"{a} {b} was {c} and {d}"
        for a, b, c, d in itertools.islice(
            itertools.product(("the", "this"), ("film", "plot", "story", "cast", "city"), ("long", "new"), ("old",)), 20
        )
    ]
    found = 0
    for text in templates:
        e = onnxray.explain(model, f"{text}, wonderful", target=1)
        found += max(e.words, key=lambda w: w.value).text == "wonderful"
    assert found == 20


def test_a_repeated_word_has_a_value_at_each_place(model: onnxray.Model) -> None:
    words = onnxray.explain(model, "bad film bad", target=1).words
    assert [w.text for w in words] == ["bad", "film", "bad"]


def test_several_texts_files_and_predictions(model: onnxray.Model, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the film")
    parts = onnxray.explain(model, [onnxray.Text("bad plot"), tmp_path / "a.txt"])
    assert [[w.text for w in e.words] for e in parts] == [["bad", "plot"], ["the", "film"]]
    assert parts[1].source == str(tmp_path / "a.txt")
    guess = onnxray.predict(model, "bad plot")
    assert guess.top[0].score == pytest.approx(parts[0].score, rel=1e-5)
    assert guess.top[0].label in ("negative", "positive")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(TextError, match="is not UTF-8 .byte 3 is 0xe9"):
        onnxray.explain(model, tmp_path / "b.txt")


def test_the_manifest_and_the_html_hold_the_words(model: onnxray.Model) -> None:
    e = onnxray.explain(model, "<b>bad</b> film", target="negative")
    about = e.manifest()["text"]
    assert [w["text"] for w in about["words"]] == ["<", "b", ">", "bad", "<", "/", "b", ">", "film"]
    assert about["made_inputs"] == {"attention_mask": "1 for every token"}
    page = e._repr_html_()
    assert "&lt;</span>" in page
    assert "<b>bad" not in page
    assert "negative" in page


def test_a_model_without_texts_says_so() -> None:
    with pytest.raises(TextError, match="the model takes none"):
        onnxray.explain("builtin", onnxray.Text("film"))


def test_multiple_choice(folder: Path) -> None:
    w = small.weights(len(VOCAB), classes=1, seed=2)
    model = onnxray.load(small.encoder(folder / "choice", small.wordpiece(), w, rank=3))
    given = onnxray.Text("the film was", choices=("wonderful", "very very bad"))
    e = onnxray.explain(model, given, target=1)
    assert [(word.text, word.side) for word in e.words] == [
        ("the", 0), ("film", 0), ("was", 0), ("wonderful", 1), ("very", 2), ("very", 2), ("bad", 2),
    ]  # fmt: skip
    assert sum(word.value for word in e.words) == pytest.approx(e.details["score_difference"], rel=1e-3)
    assert e.words[3].value == pytest.approx(0, abs=1e-6)  # the score of one choice does not read the others
    hidden = onnxray.explain(model, given, "ablation", 1)
    assert hidden.words[0].value != 0


def test_two_texts_in_inputs_of_their_own(folder: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    w = small.weights(len(VOCAB))
    nodes = []
    for side in ("a", "b"):
        nodes += [
            helper.make_node("Gather", ["table", side], [f"{side}_e"]),
            helper.make_node("Tanh", [f"{side}_e"], [f"{side}_t"]),
            helper.make_node("ReduceMean", [f"{side}_t"], [f"{side}_m"], axes=[1], keepdims=0),
        ]
    nodes += [helper.make_node("Mul", ["a_m", "b_m"], ["ab"]), helper.make_node("MatMul", ["ab", "head"], ["logits"])]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", f"t{n}"]) for n in "ab"]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])]
    kept = [numpy_helper.from_array(w[n], n) for n in ("table", "head")]
    proto = helper.make_model(
        helper.make_graph(nodes, "pair", inputs, outputs, kept),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (folder / "pair").mkdir()
    (folder / "pair" / "model.onnx").write_bytes(proto.SerializeToString())
    small.wordpiece().save(str(folder / "pair" / "tokenizer.json"))
    model = onnxray.load(folder / "pair" / "model.onnx")
    for method in ("integrated-gradients", "kernel-shap", "ablation"):
        e = onnxray.explain(model, onnxray.Text("bad film", "the plot was new"), method, 1)
        assert [(word.text, word.side) for word in e.words] == [
            ("bad", 0), ("film", 0), ("the", 1), ("plot", 1), ("was", 1), ("new", 1),
        ], method  # fmt: skip
        assert all(word.value for word in e.words)
    with pytest.raises(TextError, match=r"compares 2 texts \(a, b\): give a pair"):
        onnxray.explain(model, "bad film")


def test_a_pipeline_of_scikit_learn_that_takes_strings() -> None:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good film", "good plot", "fine film", "bad film", "bad plot", "awful film"]
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 1, 1, 0, 0, 0])
    proto = to_onnx(
        pipeline, initial_types=[("text", StringTensorType([None]))], options={CountVectorizer: {"locale": "C"}}
    )
    model = onnxray.load(proto)
    e = onnxray.explain(model, "A good, good film: not bad", target=1)
    assert (e.method, e.options["fill"]) == ("kernel-shap", None)
    found = {word.text: word.value for word in e.words}
    assert found["good"] > 0 > found["bad"]
    expected = pipeline.predict_proba(["A good, good film: not bad"])[0, 1] - pipeline.predict_proba([""])[0, 1]
    assert sum(word.value for word in e.words) == pytest.approx(expected, abs=1e-5)
    assert onnxray.predict(model, "bad film").index == 0


def test_ids_as_ones_among_zeros(parse: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    """Bytes compared with all bytes, as models that JAX exports do: gradients go to these, and each byte has its own."""
    weights = np.random.default_rng(0).normal(size=(257, 2)).astype(np.float32)
    proto = parse(
        "m (int32[N, 24] ids) => (float[N, 2] y) { a = Unsqueeze (ids, last)  q = Equal (a, row)  "
        "h = Cast <to = 1> (q)  e = MatMul (h, w)  y = ReduceSum <keepdims = 0> (e, one) }",
        w=weights, row=np.arange(257, dtype=np.int32).reshape(1, 1, 257), last=np.int64([2]), one=np.int64([1]),
    )  # fmt: skip
    model = onnxray.load(proto, kind="text", tokenizer={"kind": "bytes", "pad": 256})
    e = onnxray.explain(model, "bad film", "integrated-gradients", 1)
    for word, text in zip(e.words, ("bad ", "film"), strict=True):
        due = sum(float(weights[byte, 1] - weights[256, 1]) for byte in text.encode())
        assert word.value == pytest.approx(due, abs=1e-4)
