"""Words: whole, spelled as in the text, and every character in exactly one of them."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxray.engine.errors import TextError
from onnxray.engine.text.encoded import Token
from onnxray.engine.text.given import Text
from onnxray.engine.text.hugging_face import HuggingFace
from onnxray.engine.text.reader import Reader, simple
from onnxray.engine.text.words import lines, sentences, units_of, words
from onnxray.tests.engine.text import small


def spelled(text: str) -> list[str]:
    return [text[a:b] for a, b in words(text)]


def test_words_are_whole() -> None:
    text = "It wasn't the co-star's unforgettable plot, was it? 'Yes' -- he said... U.S. 3,5 rock-'n'-roll"
    found = spelled(text)
    assert found[:6] == ["It", "wasn't", "the", "co-star's", "unforgettable", "plot"]
    assert "..." in found
    assert "Yes" in found


def test_scripts_without_spaces_are_read_character_by_character_until_a_token_joins_them() -> None:
    assert spelled("日本語") == ["日", "本", "語"]
    tokens = [Token(1, 0, 0, 2, "日本"), Token(2, 0, 2, 3, "語")]
    assert [u.text for u in units_of(["日本語"], tokens, "word")] == ["日本", "語"]


def test_accents_and_emoji_are_not_cut() -> None:
    assert spelled("cafe\u0301 👩‍👩‍👧 👍🏽 ok") == ["cafe\u0301", "👩‍👩‍👧", "👍🏽", "ok"]


def test_sentences() -> None:
    text = 'One is short. "Two?" Three\nfour'
    assert [text[a:b] for a, b in sentences(text)] == ["One is short.", '"Two?"', "Three", "four"]


@functools.cache
def reader(name: str) -> Reader:
    if name == "bytes":
        return simple({"kind": "bytes"}, {}, "test")
    made = {
        "wordpiece": small.wordpiece, "byte bpe": small.byte_bpe, "unigram": small.unigram,
        "word level": small.word_level, "cjk": small.cjk,
    }[name]()  # fmt: skip
    vocab = made.get_vocab()
    return HuggingFace(name, max(vocab.values()) + 1, {}, None, made)


UNICODE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")), min_size=1, max_size=30)


@pytest.mark.parametrize("name", ["wordpiece", "byte bpe", "unigram", "word level", "bytes", "cjk"])
def test_every_character_belongs_to_exactly_one_word_and_every_token_to_one(name: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(text=UNICODE)
    def check(text: str) -> None:
        encoded = reader(name).encode(text, None, None)
        units = units_of([text], encoded.tokens, "word")
        covered = sorted(at for u in units for at in range(u.start, u.end) if not text[at].isspace())
        assert covered == [at for at, char in enumerate(text) if not char.isspace()]
        assert all(u.text == text[u.start : u.end] for u in units)
        numbers = sorted(n for u in units for n in u.tokens)
        wanted = [n for n, t in enumerate(encoded.tokens) if not t.special]
        assert numbers == (wanted if units else [])

    check()


def test_lines_and_slots() -> None:
    assert [text[a:b] for text in ("one two \n\n  three\nfour",) for a, b in lines(text)] == [
        "one two",
        "three",
        "four",
    ]
    text = Text("Dear {{Ada}}, you live in {{New York}}.", unit="slot")
    assert text.text == "Dear Ada, you live in New York."
    assert [text.text[a:b] for a, b in text.spans] == ["Ada", "New York"]
    assert replace(text, generate=2).spans == text.spans
    for unit, given_text in (("slot", "Dear {{Ada}}"), ("sentence", "Dear Ada"), ("line", "Ada"), ("token", "Ada")):
        with pytest.raises(TextError, match=f"spans and the unit '{unit}' both say"):
            Text(given_text, unit=unit, spans=((0, 3),))  # type: ignore[arg-type]
    with pytest.raises(TextError, match="last=3 of 2 tokens"):
        Text("Dear Ada", generate=2, last=3)
    for wrong in ("no slot", "{{open", "closed}}", "{{a {{b}} }}"):
        with pytest.raises(TextError, match="has no slots, or one that is not closed"):
            Text(wrong, unit="slot")
