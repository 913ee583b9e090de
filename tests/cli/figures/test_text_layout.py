"""Pictures of texts: what XML forbids, and texts of very many lines."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import onnxray
from onnxray.cli.figures import text_layout
from onnxray.tests.engine.text import small


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    folder = tmp_path_factory.mktemp("texts")
    return onnxray.load(small.encoder(folder, small.wordpiece(), small.planted(), length=64))


def test_control_characters_are_no_xml(model: onnxray.Model) -> None:
    found = text_layout.svg(onnxray.explain(model, "a\x00 \x1b[1m wonderful\ufffe film"))
    assert "\ufffd" in found
    assert ElementTree.fromstring(found).tag.endswith("svg")


def test_a_text_of_many_lines_ends_with_how_many_words_are_left(model: onnxray.Model) -> None:
    e = onnxray.explain(model, "bad\n" * 3000)
    assert "... 2000 more words, see index.html" in text_layout.svg(e)
    assert len(text_layout.pixels(e)) < 36_000
