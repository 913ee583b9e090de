"""Chats: the template is fixed, what the user says and what the model answers have values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import TextError
from onnxray.engine.text.reading import read
from onnxray.tests.engine.text import small

WORDS = "alpha beta gamma delta User: Answer:".split()
TEMPLATE = (
    "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content | trim }} {% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small.copying(tmp_path, WORDS)
    return tmp_path


def configured(folder: Path, template: object) -> onnxray.Model:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return onnxray.load(folder / "model.onnx")


@pytest.mark.parametrize("form", ["text", "list", "file"])
def test_the_template_is_fixed_and_the_words_of_both_have_values(folder: Path, form: str) -> None:
    if form == "file":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        model = onnxray.load(folder / "model.onnx")
    else:
        given = (
            TEMPLATE
            if form == "text"
            else [{"name": "tools", "template": ""}, {"name": "default", "template": TEMPLATE}]
        )
        model = configured(folder, given)
    text = onnxray.Text("  alpha beta alpha", continuation=" beta gamma", chat=True)
    reading = read(model, text)
    pieces = [t.piece for t in reading.tokens if t is not None]
    assert pieces == ["User:", "alpha", "beta", "alpha", "Answer:", "beta", "gamma"]
    assert [(u.text, u.side, u.start) for u in reading.units] == [
        ("alpha", 0, 2), ("beta", 0, 8), ("alpha", 0, 13), ("beta", 1, 1), ("gamma", 1, 6)
    ]  # fmt: skip
    e = onnxray.explain(model, text, "ablation", "token:1")
    plain = onnxray.explain(
        model, onnxray.Text("User: alpha beta alpha Answer:", continuation=" beta gamma"), "ablation", "token:1"
    )
    assert e.score == pytest.approx(plain.score)
    assert [w.value for w in e.words] == pytest.approx([plain.words[n].value for n in (1, 2, 3, 5, 6)])


def test_tokens_are_generated_behind_the_template(folder: Path) -> None:
    model = configured(folder, TEMPLATE)
    parts = onnxray.explain(model, onnxray.Text("alpha beta", generate=2, chat=True), "gradient")
    whole = onnxray.explain(model, onnxray.Text("User: alpha beta Answer:", generate=2), "gradient")
    assert [t.id for t in parts[0].tokens] == [t.id for t in whole[0].tokens]
    np.testing.assert_array_equal(parts[1].values, whole[1].values)
    assert [w.text for w in parts[0].words][:2] == ["alpha", "beta"]
    alone = onnxray.explain(model, onnxray.Text("alpha beta", chat=True), "gradient")
    assert alone.score == pytest.approx(parts[0].score, abs=1e-5)


def test_a_text_that_the_template_has_as_well_is_found(folder: Path) -> None:
    reading = read(configured(folder, TEMPLATE), onnxray.Text("Answer:", continuation=" beta", chat=True))
    assert [(t.piece, t.side) for t in reading.tokens if t is not None] == [
        ("User:", -1), ("Answer:", 0), ("Answer:", -1), ("beta", 1)
    ]  # fmt: skip


def test_the_time_and_marks_of_training(folder: Path) -> None:
    template = "{{ strftime_now('%Y')[:0] }}{% generation %}{{ messages[0].content }}{% endgeneration %} Answer:"
    reading = read(configured(folder, template), onnxray.Text("alpha", chat=True))
    assert [(t.piece, t.side) for t in reading.tokens if t is not None] == [("alpha", 0), ("Answer:", -1)]


def test_another_text_keeps_the_template_and_the_answer(folder: Path) -> None:
    model = configured(folder, TEMPLATE)
    reading = read(model, onnxray.Text("alpha beta", continuation=" gamma", chat=True))
    for words, there in (("delta", ["delta", "<pad>"]), ("delta delta beta", ["delta", "delta"])):
        assert reading.reader is not None
        wanted = read(model, onnxray.Text(f"User: {there[0]} {there[1]} Answer: gamma")).ids()
        np.testing.assert_array_equal(reading.filled(f"text:{words}"), wanted)


def test_words_cut_out_of_a_chat_leave_its_template(tmp_path: Path) -> None:
    small.encoder(tmp_path, small.wordpiece(), small.planted())
    model = configured(tmp_path, "the {{ messages[0].content }} ? blue")
    text = onnxray.Text("wonderful film", chat=True)
    chat = onnxray.explain(model, text, "ablation", 1, fill="drop")
    reading = read(model, text)
    fed = reading.without(model, np.array([[True, False], [False, False]]))["input_ids"]
    assert reading.reader is not None
    for row, text in zip(fed, ("the wonderful ? blue", "the  ? blue"), strict=True):
        ids = [t.id for t in reading.reader.encode_bare(text, None).tokens]
        assert row.tolist() == [*ids, *[0] * (5 - len(ids))]
    assert [w.text for w in chat.words] == ["wonderful", "film"]
    assert chat.words[0].value > abs(chat.words[1].value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has no chat template"),
        ("{{ raise_exception('roles must alternate') }}", "refuses the text: roles must alternate"),
        ("{{ messages[0].content | upper }}", "changes the text"),
        ("{{ messages[0].content }} {{ messages[0].content }}", "more than once"),
        ("{% if %}", "fails: .*: write the chat out as the text"),
        ("{{ ''.__class__.__mro__ }} {{ messages[0].missing.more }}", "fails: "),
    ],
)
def test_what_is_refused(folder: Path, template: str | None, said: str) -> None:
    with pytest.raises(TextError, match=said):
        read(configured(folder, template), onnxray.Text("alpha", chat=True))
    with pytest.raises(TextError, match="a chat has one text"):
        onnxray.Text("alpha", "beta", chat=True)
