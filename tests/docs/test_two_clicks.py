"""A stranger finds every task of the README's table in two clicks from the first page of the site, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


def tasks() -> list[tuple[str, set[str]]]:
    """(task, the commands and functions that do it) of each row of the README's table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## What it does")[1].split("No model at hand?")[0]
    rows = []
    for what, command, python in (row.split("|") for row in _ROW.findall(text)):
        names = set(re.findall(r"`onnxray (\w+)", command)) | set(re.findall(r"onnxray\.(\w+)", python))
        if names:
            rows.append((what.strip(), names))
    return rows


def clicks(page: Path) -> list[Path]:
    """The pages that a page links to."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+\.md)", prose)
    return [target for link in links if (target := (page.parent / link).resolve()).is_file()]


def reached(first: Path) -> dict[Path, int]:
    """The pages within two clicks, and after how many."""
    found = {first: 0}
    for step in (1, 2):
        for page in [page for page, at in found.items() if at == step - 1]:
            for target in clicks(page):
                found.setdefault(target, step)
    return found


def test_the_table_is_read() -> None:
    assert len(tasks()) > 20


@pytest.mark.parametrize("first", ["index.md", "es/index.md"])
@pytest.mark.parametrize(("task", "names"), tasks(), ids=[what[:40] for what, _ in tasks()])
def test_each_task_is_two_clicks_away(first: str, task: str, names: set[str]) -> None:
    """On a page that shows how: a command or a call of the task, in a block of code. References do not count."""
    shown = []
    for page in reached(DOCS / first):
        if page.name in ("cli.md", "python.md"):
            continue
        text = page.read_text(encoding="utf-8")
        code = "\n".join(
            [*re.findall(r"```\w*\n(.*?)```", text, re.DOTALL), *re.findall(r"^    \S.*$", text, re.MULTILINE)]
        )
        if any(re.search(rf"\bonnxray[ .]{name}\b", code) for name in names):
            shown.append(page)
    assert shown, task


@pytest.mark.parametrize("first", ["index.md", "es/index.md"])
def test_every_page_is_two_clicks_away(first: str) -> None:
    pages = {page for page in DOCS.rglob("*.md") if "es" not in page.relative_to(DOCS).parts[:1]}
    apart = {DOCS / "index.md", DOCS / "built-in-model.md", DOCS / "kernels.md"}
    twins = {page for page in pages if (DOCS / "es" / page.relative_to(DOCS)).is_file()}
    missing = pages - set(reached(DOCS / first)) - apart - (twins if first.startswith("es") else set())
    assert sorted(str(page.relative_to(DOCS)) for page in missing) == []
