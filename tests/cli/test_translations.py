"""Help, pages and what methods show have a text in every language there is; see `python -m onnxray.cli.translations`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from onnxray.cli import translations
from onnxray.cli.commands import COMMANDS
from onnxray.cli.terminal import language
from onnxray.cli.terminal.language import LANGUAGES
from onnxray.cli.terminal.translated_page import texts_of

FOLDER = Path(language.__file__).parent / "locale"
REMEDY = "put them into the catalog: python -m onnxray.cli.translations"


def test_every_language_has_a_catalog() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_text_of_the_help_is_translated(code: str) -> None:
    assert translations.untranslated(translations.help_texts(), code) == [], REMEDY


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_text_of_templates_and_methods_is_translated(code: str) -> None:
    texts = translations.page_texts()
    assert len(texts) > 60
    assert translations.untranslated(texts, code, page=True) == [], REMEDY


@pytest.mark.slow
def test_a_report_has_no_english_left(run: Callable[..., Result], tmp_path: Path) -> None:
    """The report is made in English: what would stay so in Spanish are names and numbers, no two words."""
    done = run("report", "builtin", "samples/04-crack-concrete.png", "-o", tmp_path / "report.html", "--quiet")
    assert done.exit_code == 0, done.output
    texts = texts_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(texts) > 150
    left = translations.untranslated(texts, "es", page=True)
    assert [text for text in left if re.search(r"\b[a-z]{2,} [a-z]{2,}\b", text)] == [], REMEDY


def test_every_page_is_translated() -> None:
    """What writes a page of HTML hands it to `translated_page`."""
    pages = Path(translations.__file__).parent / "pages"
    writing = [path for path in pages.glob("*.py") if '<html lang="en"' in path.read_text(encoding="utf-8")]
    assert len(writing) >= 3
    assert [path.name for path in writing if "return translated_page(" not in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("code", LANGUAGES)
def test_translations_say_what_the_english_says(code: str) -> None:
    """Names of options, commands and files, and the places for what is put in, are the same in both."""
    po = (FOLDER / code / "LC_MESSAGES" / "onnxray.po").read_text(encoding="utf-8")
    entries = list(language.entries_of(po))
    assert len({entry[:2] for entry in entries}) == len(entries)
    kept = re.compile(r"`[^`]+`|(?<!\w)--[a-z][\w-]*|\{#?\}|\$\{[^}]*\}|\w+\.(?:jsonl?|csv|md|npy|npz|onnx|html)\b")
    differing = {
        text: found
        for _, text, found in entries
        if text and sorted(set(kept.findall(text))) != sorted(set(kept.findall(found)))
    }
    assert differing == {}


def test_the_tool_prints_entries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<html lang="en"><p>A text that says "this"</p><p>Units</p></html>', encoding="utf-8")
    printed = translations.report([page])
    assert 'msgid "A text that says \\"this\\""\nmsgstr ""' in printed
    assert "Units" not in printed


@pytest.mark.parametrize("name", ["", "explain", "novelty", "models"])
def test_help_is_in_spanish(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", "es")
    done = run(*name.split(), "--help")
    assert done.exit_code == 0
    assert done.output.startswith("Uso: onnxray")
    assert "Opciones:" in done.output
    assert "Muestra esta ayuda y termina." in done.output
    assert not re.search(r"\bthe\b|\[default|\[required", done.output)


def test_the_list_of_commands_is_in_spanish(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    english = run("--help").output
    monkeypatch.setenv("ONNXRAY_LANG", "es_MX.UTF-8")
    spanish = run("--help").output
    assert all(name in english and name in spanish for name in COMMANDS)
    assert "Órdenes:" in spanish
    assert "Commands:" in english
