"""A page of HTML in the language wanted: its texts are translated when all of it has been written.

What is in `code`, `pre`, `kbd` and `style`, and the text behind a tag with `translate="no"`, stay as they are: names of
models, layers, classes and files. In scripts, whole strings are translated that the catalog has for scripts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from .language import ENGLISH, language, read_catalog, translation

_TAG = re.compile(r"<(script|style|code|pre|kbd)\b[^>]*>.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)
_SHOWN = re.compile(r'(?<= )(alt|aria-label|title|placeholder)="([^"]+)"')
_KEPT = re.compile(r'translate="?no\b')
_LETTERS = re.compile(r"[A-Za-z]{2}")


def translated_page(page: str, names: Iterable[str] = ()) -> str:
    """The page with its texts in the language wanted; in English, the page.

    names: of classes and layers, which stay although a text of the catalog says the same.
    """
    code = language()
    if code == ENGLISH:
        return page
    kept_names, parts = frozenset(names), []
    for text, tag, kept in _pieces(page):
        parts += [text if kept else _node(text, code, kept_names), _marked(tag, code, kept_names)]
    return re.sub(r'(<html\b[^>]*\blang=)"en"', rf'\1"{code}"', "".join(parts), count=1)


def texts_of(page: str) -> list[str]:
    """Each text that a reader of the page sees or hears and that is to be translated, on one line."""
    found = []
    for text, tag, kept in _pieces(page):
        nodes = [] if kept else [text]
        nodes += [] if _closed(tag) or _KEPT.search(tag) else [match[2] for match in _SHOWN.finditer(tag)]
        found += [" ".join(html.unescape(node).split()) for node in nodes if _LETTERS.search(html.unescape(node))]
    return list(dict.fromkeys(found))


def _pieces(page: str) -> Iterator[tuple[str, str, bool]]:
    """(text, the tag behind it, whether the text stays) from the head of the page to its end."""
    at, kept = 0, False
    for match in _TAG.finditer(page):
        yield page[at : match.start()], match.group(), kept
        at, kept = match.end(), bool(_KEPT.search(match.group())) and match[1] is None
    yield page[at:], "", kept


def _node(text: str, code: str, names: frozenset[str]) -> str:
    inner = text.strip()
    shown = html.unescape(inner)
    found = translation(shown, code) if _LETTERS.search(shown) and shown not in names else None
    if found is None:
        return text
    before, after = text[: text.index(inner)], text[text.index(inner) + len(inner) :]
    return f"{before}{html.escape(found, quote=True)}{after}"


def _marked(tag: str, code: str, names: frozenset[str]) -> str:
    if tag.lower().startswith("<script"):
        return translated_script(tag, code)
    if _closed(tag) or _KEPT.search(tag):
        return tag
    return _SHOWN.sub(lambda m: f'{m[1]}="{_node(m[2], code, names)}"', tag)


def _closed(tag: str) -> bool:
    """Whether it is an element with all that is in it, which stays."""
    return tag.count("<") > 1


def translated_script(script: str, code: str | None = None) -> str:
    """A script with its whole strings in the language wanted."""
    code = code or language()
    if code == ENGLISH:
        return script
    for text, found in read_catalog(code).scripts.items():
        for quote in '"`':
            script = script.replace(f"{quote}{text}{quote}", f"{quote}{found}{quote}")
    return script
