"""Pages in Spanish: what is said, never what is a name."""

from __future__ import annotations

import pytest

from onnxray.cli.terminal.translated_page import texts_of, translated_page, translated_script


@pytest.fixture(autouse=True)
def spanish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", "es")


def test_texts_and_what_is_heard() -> None:
    page = '<!DOCTYPE html>\n<html lang="en"><h2> Units </h2><img alt="Part of a.png" src="Units"><dt>model</dt></html>'
    assert translated_page(page) == (
        '<!DOCTYPE html>\n<html lang="es"><h2> Unidades </h2><img alt="Parte de a.png" src="Units"><dt>modelo</dt></html>'
    )


def test_names_stay() -> None:
    page = (
        '<html lang="en"><code>model</code><b translate="no">model</b><i>model</i><p>image</p><kbd>input</kbd></html>'
    )
    assert translated_page(page, ["image"]) == page.replace('"en"', '"es"').replace("<i>model", "<i>modelo")
    assert texts_of(page) == ["model", "image"]


def test_what_comes_from_a_model_stays_escaped() -> None:
    page = "<p>Part of &lt;script&gt;&quot;x&quot; &amp; y</p>"
    assert translated_page(page) == "<p>Parte de &lt;script&gt;&quot;x&quot; &amp; y</p>"


def test_english_pages_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXRAY_LANG", "en")
    page = '<html lang="en"><h2>Units</h2><script>say("Running …")</script></html>'
    assert translated_page(page) is page
    assert translated_script('say("Running …")') == 'say("Running …")'


def test_whole_strings_of_scripts() -> None:
    script = 'say("Running …"); at("nothing to see", `class ${index}`, "nothing")'
    assert translated_script(script) == 'say("Ejecutando …"); at("nothing to see", `clase ${index}`, "nada")'
    page = f'<script type="module">{script}</script><style>p::after {{ content: "nothing" }}</style>'
    assert 'say("Ejecutando …")' in translated_page(page)
    assert 'content: "nothing"' in translated_page(page)
