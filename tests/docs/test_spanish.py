"""The pages in Spanish say the same as those in English: headings, code, tables, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SPANISH = DOCS / "es"
# What there is in Spanish only.
_ONLY = {"glosario.md"}
PAGES = sorted(page.relative_to(SPANISH) for page in SPANISH.rglob("*.md") if page.name not in _ONLY)


def structure(page: Path, root: Path) -> dict[str, object]:
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", prose)
    pages = [(page.parent / link).resolve() for link in links]
    return {
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)],
        "code": [(kind, re.sub(r" *#.*", "", lines)) for kind, lines in code],
        "inline code": sorted(set(re.findall(r"`[^`]+`", prose))),
        "rows": len(re.findall(r"^\|", prose, re.MULTILINE)),
        "links": [str(target.relative_to(root if target.is_relative_to(root) else DOCS)) for target in pages],
    }


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_same_in_both(page: Path) -> None:
    english, spanish = structure(DOCS / page, DOCS), structure(SPANISH / page, SPANISH)
    assert [link for link in spanish.pop("links") if link not in _ONLY] == english.pop("links")  # type: ignore[attr-defined]
    assert spanish == english


def test_tutorials_are_there_in_both() -> None:
    assert {page.name for page in (DOCS / "tutorials").glob("*.md")} == {
        page.name for page in (SPANISH / "tutorials").glob("*.md")
    }


def test_the_glossary_is_in_order() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", (SPANISH / "glosario.md").read_text("utf-8"), re.MULTILINE
    )[1:]
    words = [english.lower() for english, _ in rows]
    assert words == sorted(set(words), key=lambda word: re.sub(r"[^a-z ]", "", word))
    assert len(words) > 50
