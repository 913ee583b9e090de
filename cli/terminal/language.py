"""The language of help and pages: that of ONNXRAY_LANG, else that of the locale; English where there is no catalog.

Texts stand in the source in English and are translated where they are shown, by what they say. Catalogs are gettext's,
`locale/LANGUAGE/LC_MESSAGES/onnxray.po`, and are read as they are. On pages, a `{}` of a msgid stands for any text and
a `{#}` for a number, which come again, in this order, where the msgstr has the same.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

VARIABLE = "ONNXRAY_LANG"
ENGLISH, LANGUAGES = "en", ("es",)
# Where a locale is looked for, as gettext does.
_LOCALE = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


def language() -> str:
    """The language wanted: "en", or one that there is a catalog of."""
    for name in (VARIABLE, *_LOCALE):
        if wanted := os.environ.get(name, ""):
            return next(filter(_known, map(_code, wanted.split(":"))), ENGLISH)
    return ENGLISH


def unknown_language() -> str | None:
    """What ONNXRAY_LANG asks for where it is no language that is known; None else."""
    wanted = os.environ.get(VARIABLE, "")
    return wanted if wanted and not any(map(_known, map(_code, wanted.split(":")))) else None


def _code(wanted: str) -> str:
    return re.split(r"[_.@-]", wanted.lower(), maxsplit=1)[0]


def _known(code: str) -> bool:
    return code == ENGLISH or code in LANGUAGES


def translated(text: str) -> str:
    """The text in the language wanted, on one line; as it is where the catalog lacks it, or in English."""
    code = language()
    return text if code == ENGLISH else read_catalog(code).texts.get(" ".join(text.split()), text)


def translated_paragraphs(text: str) -> str:
    """The same of a text of several paragraphs, each by itself; those that keep their lines (`\\b`) stay."""
    if language() == ENGLISH:
        return text
    return "\n\n".join(part if part.startswith("\b") else translated(part) for part in paragraphs(text))


def paragraphs(text: str) -> list[str]:
    """Paragraphs of a docstring or a page of help."""
    return [part for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]


def translation(text: str, code: str) -> str | None:
    """A text of a page in the language `code`, None where its catalog lacks it."""
    return _translation(" ".join(text.split()), code)


@functools.lru_cache(maxsize=8192)
def _translation(text: str, code: str) -> str | None:
    catalog = read_catalog(code)
    if text in catalog.texts:
        return catalog.texts[text]
    for pattern, found in catalog.patterns:
        if match := pattern.fullmatch(text):
            return "".join(_woven(found, match.groups()))
    return None


@dataclass(frozen=True)
class Catalog:
    """English texts and what they are in a language; those with `{}` as patterns, the longest first; those of scripts,
    which stand there as they are written.
    """

    texts: dict[str, str]
    patterns: list[tuple[re.Pattern[str], str]]
    scripts: dict[str, str]


@functools.cache
def read_catalog(code: str) -> Catalog:
    """The catalog of a language."""
    place = importlib.resources.files(__package__).joinpath(f"locale/{code}/LC_MESSAGES/onnxray.po")
    entries = [entry for entry in entries_of(place.read_text(encoding="utf-8")) if entry[1] and entry[2]]
    plain = {text: found for context, text, found in entries if not context}
    rules = sorted(filter(_PLACE.search, plain), key=len, reverse=True)
    return Catalog(
        {text: found for text, found in plain.items() if not _PLACE.search(text)},
        [(_pattern(text), plain[text]) for text in rules],
        {text: found for context, text, found in entries if context == "script"},
    )


_PLACE = re.compile(r"\{#?\}")
# A number as pages write it: -1.2e-05, 1,234, 92.5M, 95 %.
_NUMBER = r"([-+−]?\d[\d.,]*(?:e[-+]?\d+)?[kMGT]?(?: ?%)?)"


def _pattern(text: str) -> re.Pattern[str]:
    kinds = [_NUMBER if place == "{#}" else "(.+?)" for place in _PLACE.findall(text)]
    return re.compile("".join(_woven(text, kinds, re.escape)), re.DOTALL)


def _woven(text: str, places: Sequence[str], plain: Callable[[str], str] = str) -> Iterator[str]:
    """The parts of a text with its places filled, one after the other."""
    for part, place in zip_longest(_PLACE.split(text), places, fillvalue=""):
        yield plain(part)
        yield place


_LINE = re.compile(r'(?:(msgctxt|msgid|msgstr) )?"((?:[^"\\]|\\.)*)"')


def entries_of(po: str) -> Iterator[tuple[str, str, str]]:
    """(context, English text, text in the language) of each entry of a .po file."""
    entry: dict[str, str] = {}
    key = ""
    for line in po.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        if match[1] in ("msgctxt", "msgid") and "msgstr" in entry:
            yield entry.get("msgctxt", ""), entry["msgid"], entry["msgstr"]
            entry = {}
        key = match[1] or key
        entry[key] = entry.get(key, "") + _unescaped(match[2])
    if "msgstr" in entry:
        yield entry.get("msgctxt", ""), entry["msgid"], entry["msgstr"]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text)
