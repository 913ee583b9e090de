"""Links between the pages, and the pictures that they show, are there; so are the headings that links go to."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<(?:img|a|source)[^>]+?(?:src|href|srcset)=\"([^\"]+)\"")


def prose(text: str) -> str:
    """Without code, in which brackets are none of Markdown's."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(page: Path) -> set[str]:
    """The names of the headings, as GitHub makes them; equal ones get a number."""
    found: dict[str, int] = {}
    names = set(re.findall(r'<a id="([^"]+)"', page.read_text(encoding="utf-8")))
    for line in re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines():
        if (match := re.match(r"#{1,6} +(.+)", line)) is not None:
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).lower()
            name = re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-")
            names.add(name if name not in found else f"{name}-{found[name]}")
            found[name] = found.get(name, 0) + 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    broken = []
    for match in _LINK.finditer(prose(page.read_text(encoding="utf-8"))):
        link = unquote(match[1] or match[2])
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked() -> None:
    """From the README, or from a page that is."""
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        links = [
            unquote(m[1] or m[2]).partition("#")[0] for m in _LINK.finditer(prose(page.read_text(encoding="utf-8")))
        ]
        todo += [(page.parent / link).resolve() for link in links if link.endswith(".md") and "://" not in link]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= seen
