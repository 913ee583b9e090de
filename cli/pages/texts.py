"""The page of a run over texts: every text with its words, and the words that move the model most."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.attribution.text_html import STYLE, text_html
from ..terminal.translated_page import translated_page
from . import text_matrix

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root{{color-scheme:light dark;--paper:#fff;--ink:#1c2128;--rule:#d0d5dc}}
@media (prefers-color-scheme:dark){{:root{{--paper:#15181d;--ink:#e6e9ee;--rule:#3a414b}}}}
body{{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
body{{margin:0 auto;max-width:52em;padding:1.2em}}
h1{{font-size:1.5em;overflow-wrap:anywhere}}h2{{font-size:1.05em;margin:1.6em 0 .2em;overflow-wrap:anywhere}}
article{{border-top:1px solid var(--rule)}}table{{border-collapse:collapse;display:block;overflow-x:auto}}
td,th{{padding:.2em .9em .2em 0;text-align:left;font-variant-numeric:tabular-nums}}td.r,th.r{{text-align:right}}
.m{{opacity:.85}}
{style}
</style></head><body>
"""
_PART = re.compile(r'<article data-of="([^"]*)"><h2>[^<]*</h2>(.*?)</article>', re.DOTALL)
# Words of the table on the page; words.csv has all of them.
_MOST_WORDS = 20


def page(
    title: str, about: str, texts: Sequence[tuple[Path, Sequence[str]]], words: Sequence[Mapping[str, Any]]
) -> str:
    """The page. texts: (path, fragments of HTML, which are escaped already). words: rows as those of words.csv."""
    parts = [_HEAD.format(title=html.escape(title), style=f"{STYLE}\n{text_matrix.STYLE}")]
    parts.append(f"<h1>{html.escape(title)}</h1><p class=m>{html.escape(about)}</p>")
    if len(texts) > 1 and words:
        parts.append(_table(words))
    for path, fragments in texts:
        inner = "".join(part.replace(f"<style>{STYLE}</style>", "") for part in fragments)
        head = f'<article data-of="{html.escape(str(path), quote=True)}"><h2>{html.escape(path.name)}</h2>'
        parts.append(f"{head}{inner}</article>")
    script = f"<script>{text_matrix.SCRIPT}</script>" if any("class=oxm" in p for _, f in texts for p in f) else ""
    return translated_page("".join([*parts, script, "</body></html>\n"]))


def parts_of(text: str) -> dict[str, str]:
    """What an earlier page shows of each text, by its path: texts in it are escaped, so that none ends a part."""
    return {html.unescape(match[1]): match[2] for match in _PART.finditer(text)}


def drawn(parts: Sequence[Explanation]) -> str:
    """One text by one method: its words for every target, or what a language model says as a matrix."""
    reading = parts[0].reading
    if len(parts) > 1 and reading is not None and reading.output:
        return text_matrix.matrix_html(parts)
    return "".join(text_html(e) for e in parts)


def _table(words: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(str(w['word']))}</td><td>{html.escape(str(w['target']))}</td>"
        f"<td class=r>{w['mean']:+.4g}</td><td class=r>{w['count']}</td></tr>"
        for w in words[:_MOST_WORDS]
    )
    head = "<tr><th>word</th><th>target</th><th class=r>mean value</th><th class=r>times</th></tr>"
    return f"<h2>Words that move the model most</h2><table>{head}{rows}</table>"
