"""Which language is wanted, and what a catalog makes of a text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result

from onnxray.cli.terminal import language
from onnxray.cli.terminal.language import entries_of, read_catalog, translated, translated_paragraphs, translation

VARIABLES = ("ONNXRAY_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "en"),
        ({"LANG": "es_ES.UTF-8"}, "es"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "es_ES.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LANGUAGE": "es:en"}, "es"),
        ({"ONNXRAY_LANG": "es"}, "es"),
        ({"ONNXRAY_LANG": "ES-mx", "LANG": "en_US.UTF-8"}, "es"),
        ({"ONNXRAY_LANG": "en", "LANG": "es_ES.UTF-8"}, "en"),
        ({"ONNXRAY_LANG": "", "LANG": "es_ES.UTF-8"}, "es"),
        ({"ONNXRAY_LANG": "../../etc"}, "en"),
        ({"LANGUAGE": "ca:es"}, "es"),
        ({"LANGUAGE": "ca:en:es"}, "en"),
        ({"LANGUAGE": "ca", "LANG": "es_ES.UTF-8"}, "en"),
    ],
)
def test_the_language_wanted(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: str) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert language.language() == found


@pytest.mark.parametrize(
    ("given", "found"), [("spanish", "spanish"), ("es_MX.UTF-8", None), ("en", None), ("", None), ("ca:es", None)]
)
def test_an_unknown_language_is_known_as_such(monkeypatch: pytest.MonkeyPatch, given: str, found: str | None) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", given)
    assert language.unknown_language() == found


def test_an_unknown_language_is_said(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", "spanish")
    done = run("methods")
    assert done.exit_code == 0
    assert done.stderr.count("\n") == 1
    assert "ONNXRAY_LANG=spanish is no language that is known" in done.stderr
    monkeypatch.setenv("ONNXRAY_LANG", "es")
    assert run("methods").stderr == ""


def test_entries_of_a_catalog() -> None:
    po = """
# a note
msgid ""
msgstr ""
"Language: es\\n"

msgid "one \\"two\\""
msgstr "uno "
"\\"dos\\""

msgctxt "script"
msgid "a\\\\b"
msgstr "c\\nd"
"""
    assert list(entries_of(po)) == [
        ("", "", "Language: es\n"),
        ("", 'one "two"', 'uno "dos"'),
        ("script", "a\\b", "c\nd"),
    ]


def test_english_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", "en")
    assert translated("Options") == "Options"
    assert translated_paragraphs("Units\n\n\b\nas it is") == "Units\n\n\b\nas it is"


def test_texts_with_places() -> None:
    assert translation("Part of a.png", "es") == "Parte de a.png"
    assert translation("channel 12", "es") == "canal 12"
    assert translation("channel island", "es") is None
    assert translation("-1.5e-05 to 92.5M", "es") == "de -1.5e-05 a 92.5M"
    assert translation("Part of {} and {0}", "es") == "Parte de {} and {0}"
    assert translation("never said", "es") is None


def test_of_several_patterns_the_longest_is_taken() -> None:
    lengths = [pattern.pattern for pattern, _ in read_catalog("es").patterns]
    assert len(lengths) > 80
    text = "the class: What it looks for, in the browser"
    assert translation(text, "es") == "the class: Qué busca, en el navegador"


def test_paragraphs_that_keep_their_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", "es")
    assert translated_paragraphs("Random\nseed.\n\n\b\nRandom seed.") == "Semilla aleatoria.\n\n\b\nRandom seed."
