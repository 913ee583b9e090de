"""Writes the notebooks of examples/ from the tutorials: `python docs/make_notebooks.py`.

Python becomes cells, everything else text; commands stay text, as they write folders. Notebooks are kept without
outputs; a test runs them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
# Folder of tutorials -> folder of notebooks.
FOLDERS = {DOCS / "tutorials": EXAMPLES, DOCS / "es" / "tutorials": EXAMPLES / "es"}
_CODE = re.compile(r"```python\n(.*?)```\n?", re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:)([^)#]+)")


def notebooks() -> Iterator[tuple[Path, str]]:
    """(place, text) of every notebook."""
    for pages, folder in FOLDERS.items():
        for page in sorted(pages.glob("*.md")):
            place = folder / f"{page.stem}.ipynb"
            yield place, json.dumps(notebook(page, place), indent=1, ensure_ascii=False) + "\n"


def notebook(page: Path, place: Path) -> dict[str, Any]:
    """The notebook of a page, in the format of Jupyter (nbformat 4.5)."""
    parts = _CODE.split(page.read_text(encoding="utf-8"))
    cells = []
    for number, part in enumerate(parts):
        is_code = number % 2 == 1
        text = part.strip() if is_code else _relinked(part.strip(), page, place)
        if text:
            cells.append(_cell("code" if is_code else "markdown", text, number))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(kind: str, text: str, number: int) -> dict[str, Any]:
    name = hashlib.sha256(f"{number}{text}".encode()).hexdigest()[:8]
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def _relinked(text: str, page: Path, place: Path) -> str:
    """Links as they are from the notebook; those to tutorials go to their notebooks."""

    def there(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if target.parent in FOLDERS and target.suffix == ".md":
            target = FOLDERS[target.parent] / f"{target.stem}.ipynb"
        return f"]({_between(place.parent, target)}"

    return _LINK.sub(there, text)


def _between(folder: Path, target: Path) -> str:
    up = 0
    while not target.is_relative_to(folder):
        folder, up = folder.parent, up + 1
    return "../" * up + target.relative_to(folder).as_posix()


def main() -> None:
    for place, text in notebooks():
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
