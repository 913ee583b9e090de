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
    prose = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
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


def test_the_readme_says_the_same() -> None:
    """But for the list of documents: most of them are in English."""
    root = DOCS.parent
    english, spanish = (structure(root / name, root) for name in ("README.md", "README.es.md"))
    for part in ("headings", "code", "rows"):
        assert spanish[part] == english[part], part
    indented = [
        re.findall(r"^    .+$", (root / n).read_text("utf-8"), re.MULTILINE) for n in ("README.md", "README.es.md")
    ]
    assert indented[0] == indented[1]
    commands = [
        re.findall(r"^\|[^|]+\| (.*`.* \|)$", (root / n).read_text("utf-8"), re.MULTILINE)
        for n in ("README.md", "README.es.md")
    ]
    assert commands[0] == commands[1]
    assert len(commands[0]) > 15


@pytest.mark.parametrize("name", ["index.md", "gallery.md", "recipes.md"])
def test_what_a_reader_begins_with_is_there_in_both(name: str) -> None:
    assert (DOCS / name).is_file()
    assert (SPANISH / name).is_file()


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
