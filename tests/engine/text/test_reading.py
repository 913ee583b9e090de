"""How a text becomes the inputs of a model, and what is said where it cannot."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import TextError
from onnxray.engine.text.find import reader_of
from onnxray.engine.text.given import Text
from onnxray.engine.text.reading import notes_of, read
from onnxray.tests.engine.text import small

COUNT = len(dict.fromkeys([*small.SPECIAL, *small.WORDS]))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.encoder(tmp_path_factory.mktemp("e"), small.wordpiece(), small.weights(COUNT), segments=True)


def test_masks_and_segments_are_made(path: Path) -> None:
    model = onnxray.load(path)
    found = read(model, Text("The film was", "wonderful"))
    feeds = found.feeds(model)
    assert set(feeds) == {"input_ids", "attention_mask", "token_type_ids"}
    assert feeds["attention_mask"].tolist() == [[1] * 7]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1]]
    assert [u.text for u in found.units] == ["The", "film", "was", "wonderful"]
    assert [u.side for u in found.units] == [0, 0, 0, 1]


def test_pieces_of_a_word_are_one_and_unknown_words_keep_their_spelling(path: Path) -> None:
    found = read(onnxray.load(path), Text("Unforgettable 🎬 zzz"))
    assert [u.text for u in found.units] == ["Unforgettable", "🎬", "zzz"]
    assert len(found.units[0].tokens) == 3


def test_units(path: Path) -> None:
    model = onnxray.load(path)
    assert [u.text for u in read(model, Text("Bad. Good film!", unit="sentence")).units] == ["Bad.", "Good film!"]
    assert [u.text for u in read(model, Text("unforgettable", unit="token")).units] == ["un", "forget", "table"]
    found = read(model, Text("the film was bad", spans=((0, 8), (13, 16))))
    assert [u.text for u in found.units] == ["the film", "bad"]


def test_a_fixed_length_is_padded_and_what_does_not_fit_is_said(tmp_path: Path) -> None:
    model = onnxray.load(small.encoder(tmp_path, small.wordpiece(), small.weights(COUNT), length=6))
    short, long = read(model, Text("the film")), read(model, Text("the film was very very very long and old"))
    assert short.feeds(model)["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]
    assert short.feeds(model)["input_ids"][0, 4:].tolist() == [0, 0]
    assert long.unread == 5
    assert "5 words at the end were not read" in notes_of(long)[0]


def test_the_longest_text_of_the_configuration_counts(tmp_path: Path) -> None:
    path = small.encoder(tmp_path, small.wordpiece(), small.weights(COUNT))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 5}))
    assert len(read(onnxray.load(path), Text("the film was very long")).tokens) == 5


def test_vocab_txt_with_word_pieces(tmp_path: Path) -> None:
    path = small.encoder(tmp_path, None, small.weights(COUNT))
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys([*small.SPECIAL, *small.WORDS])))
    assert [t.piece for t in read(onnxray.load(path), Text("Unforgettable film")).tokens if t] == [
        "[CLS]", "un", "##forget", "##table", "film", "[SEP]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ({"kind": "words", "vocab": ["<pad>", "<unk>", "film", "good"], "length": 8}, ["good", "film"]),
        ({"kind": "characters", "vocab": "abcdefg odfilm"}, list("good film")),
        ({"kind": "bytes"}, list("good film")),
    ],
)
def test_vocabularies_of_a_card(tmp_path: Path, said: dict, pieces: list[str]) -> None:
    path = small.encoder(tmp_path, None, small.weights(256))
    (tmp_path / "model.json").write_text(json.dumps({"kind": "text", "tokenizer": said}))
    found = read(onnxray.load(path, tokenizer=said), Text("good film"))
    assert [t.piece for t in found.tokens if t] == pieces


def test_bad_input_is_said_in_one_line(tmp_path: Path, path: Path) -> None:
    model = onnxray.load(path)
    with pytest.raises(TextError, match="the text is empty"):
        Text("  ")
    with pytest.raises(TextError, match="surrogate"):
        Text("a\ud800")
    with pytest.raises(TextError, match="overlaps"):
        Text("abc", spans=((0, 2), (1, 3)))
    with pytest.raises(TextError, match="takes no choices"):
        read(model, Text("the", choices=("film", "plot")))
    bare = onnxray.load(small.encoder(tmp_path / "bare" / "deep", None, small.weights(COUNT)))
    with pytest.raises(TextError, match=r"no tokenizer found .* looked for tokenizer.json and vocab.txt in .*deep"):
        read(bare, Text("the"))
    tiny = onnxray.load(small.encoder(tmp_path / "tiny", small.wordpiece(), small.weights(10)))
    with pytest.raises(TextError, match=rf"has {COUNT} ids and the model's table 10 rows"):
        read(tiny, Text("wonderful"))
    broken = small.encoder(tmp_path / "broken", None, small.weights(COUNT))
    (tmp_path / "broken" / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(TextError, match="no tokenizer that the library tokenizers reads"):
        read(onnxray.load(broken), Text("the"))
    (tmp_path / "broken" / "tokenizer.json").unlink()
    (tmp_path / "broken" / "spiece.model").write_bytes(b"x")
    with pytest.raises(TextError, match="sentencepiece"):
        read(onnxray.load(broken), Text("the"))


def test_words_are_cut_out_and_the_text_is_read_anew(path: Path) -> None:
    model = onnxray.load(path)
    found = read(model, Text("the film was bad"))
    feeds = found.without(model, np.array([[True, True, False, True], [True, False, False, False]]))
    ids = found.feeds(model)["input_ids"][0]
    assert feeds["input_ids"][0].tolist() == [*ids[:3], ids[4], ids[5], 0]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    "given",
    [
        Text("the film was very very long", unit="token"),
        Text("the film was very very long", unit="sentence"),
        Text("the film was very very long", spans=((0, 8),)),
    ],
)
def test_what_is_cut_is_said_whatever_has_a_value(tmp_path: Path, given: Text) -> None:
    model = onnxray.load(small.encoder(tmp_path, small.wordpiece(), small.weights(COUNT), length=6))
    found = read(model, given)
    assert found.unread == 2
    assert "2 words at the end were not read" in notes_of(found)[0]
    inside = read(model, Text("the film was unforgettable"))
    assert inside.unread == 0
    assert "its last word was cut" in notes_of(inside)[0]


def test_a_text_of_which_no_token_is_made_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="the spans cover no token"):
        read(onnxray.load(path), Text("the film", spans=((3, 4),)))
    bare = onnxray.load(small.encoder(tmp_path, None, small.weights(9)), tokenizer={"kind": "words", "vocab": ["old"]})
    with pytest.raises(TextError, match="makes no token of the text"):
        read(bare, Text("new things"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocab.txt", "[PAD]\n[UNK]\nthe\n##s\n", r"vocab.txt has word pieces and no \[CLS\], \[SEP\]"),
        ("v.json", '"film"', "v.json' is neither"),
        ("v.json", '{"film": -1}', "the id of 'film' in the vocabulary of .*v.json is -1"),
    ],
)
def test_a_vocabulary_that_is_none_is_said(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = small.encoder(tmp_path, None, small.weights(COUNT))
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError, match=said):
        read(onnxray.load(path, tokenizer=str(tmp_path / name)), Text("the film"))


def test_the_vocabulary_of_a_card_holds_whole_numbers(tmp_path: Path) -> None:
    path = small.encoder(tmp_path, None, small.weights(COUNT))
    for vocab in ({"film": "x"}, {"film": 1.5}, {"film": -2}):
        with pytest.raises(TextError, match="give a whole number from 0"):
            read(onnxray.load(path, tokenizer={"kind": "words", "vocab": vocab}), Text("film"))
    (tmp_path / "v.json").write_text('["old", "film"]')
    model = onnxray.load(path, tokenizer={"kind": "words", "vocab": str(tmp_path / "v.json")})
    assert read(model, Text("film")).ids().tolist() == [[1]]


def test_a_model_of_strings_takes_one_text() -> None:
    from onnx import TensorProto, helper

    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])
    nodes = [
        helper.make_node("StringNormalizer", ["text"], ["low"], case_change_action="LOWER"),
        helper.make_node("TfIdfVectorizer", ["low"], ["y"], max_gram_length=1, max_skip_count=0, min_gram_length=1,
            mode="TF", ngram_counts=[0], ngram_indexes=[0], pool_strings=["a"]),
    ]  # fmt: skip
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    opset = helper.make_opsetid("", 17)
    model = onnxray.load(
        helper.make_model(helper.make_graph(nodes, "g", [text], [out]), opset_imports=[opset], ir_version=8)
    )
    assert len(read(model, Text("a b")).units) == 2
    for given in (Text("a", "b"), Text("a", choices=("b", "c")), Text("a", continuation="b")):
        with pytest.raises(TextError, match="one text as a string"):
            read(model, given)


def test_several_threads_read_with_one_tokenizer(path: Path) -> None:
    """What is cut is set up in the tokenizer for each text: one thread took it away from another."""
    reader = reader_of(onnxray.load(path))
    assert reader is not None
    text, before = " ".join(small.WORDS * 4), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda n: reader.encode(text, None, 8 if n % 2 else None), range(400)))
    finally:
        sys.setswitchinterval(before)
    whole, cut = reader.encode(text, None, None), reader.encode(text, None, 8)
    assert (len(cut.tokens), cut.cut) == (8, True)
    assert all(made == (cut if n % 2 else whole) for n, made in enumerate(found))
