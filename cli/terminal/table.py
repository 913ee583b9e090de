"""Aligned tables and short numbers for the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .echo import one_line

ELLIPSIS = "…"


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it is right-aligned, to how many characters it may shrink (None: not at all).

    `drop`: where shrinking is not enough, columns with such a number are left out, the lowest number first.
    """

    title: str
    right: bool = False
    least: int | None = None
    drop: int | None = None


def terminal_width() -> int | None:
    """Characters in a line of the terminal on stdout (or the COLUMNS variable), None where stdout is no terminal."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(40, shutil.get_terminal_size().columns)
    return None


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows under a header; to fit into `width`, the widest shrinkable column is elided, again and again."""
    cells = [[c.title for c in columns], *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(display_width(row[i]) for row in cells) for i in range(len(columns))]
    names = [c.title for c in columns]
    dropped: list[int] = []
    if width is not None:
        least = [min(w, max(c.least, len(c.title))) if c.least else w for w, c in zip(widths, columns, strict=True)]
        kept = list(range(len(columns)))
        while sum(least[i] + 2 for i in kept) - 2 > width:
            can = [i for i in kept if columns[i].drop is not None]
            if not can:
                break
            dropped.append(min(can, key=lambda i: columns[i].drop or 0))
            kept.remove(dropped[-1])
        columns, cells = [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]
        widths, least = [widths[i] for i in kept], [least[i] for i in kept]
        while sum(widths) + 2 * (len(widths) - 1) > width and widths != least:
            widths[max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])] -= 1
    lines = []
    for number, row in enumerate(cells):
        line = "  ".join(_fit(cell, w, c.right) for cell, w, c in zip(row, widths, columns, strict=True)).rstrip()
        lines.append(line)
        if number == 0:
            lines.append("  ".join("─" * w for w in widths))
    if dropped:
        lines.append(f"(the terminal is too narrow for: {', '.join(names[i] for i in sorted(dropped))})")
    return "\n".join(lines)


def _fit(cell: str, width: int, right: bool) -> str:
    cell = elide(cell, width)
    padding = " " * (width - display_width(cell))
    return padding + cell if right else cell + padding


def elide(text: str, width: int) -> str:
    """`text`, cut in the middle where it is longer than `width` characters."""
    if display_width(text) <= width:
        return text
    if width < 3:
        return ELLIPSIS[:width]
    tail = (width - 1) // 2
    head = width - 1 - tail
    return text[: _prefix(text, head)] + ELLIPSIS + text[len(text) - _prefix(text[::-1], tail) :]


def _prefix(text: str, width: int) -> int:
    used = 0
    for i, character in enumerate(text):
        used += _cells(character)
        if used > width:
            return i
    return len(text)


def display_width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    return len(text) if text.isascii() else sum(_cells(c) for c in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def count(n: int | None) -> str:
    """A number in at most five characters: 999, 1.23k, 12.3M."""
    if n is None:
        return "?"
    if n < 1000:
        return str(n)
    value = float(n)
    for unit in "kMGT":
        value /= 1000
        if value < 999.5:
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}{unit}"
    return f"{value:.0f}P"


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """A tensor's shape as "Nx3x224x224", "batch x 3 x 224 x 224"; unknown sizes, and those of a long name, as ?."""
    if shape is None:
        return "?"
    sizes = ["?" if _nameless(d) else str(d) for d in shape]
    words = any(len(size) > 1 and not size.isdigit() for size in sizes)
    return (" x " if words else "x").join(sizes) or "scalar"


def spaced_shape(shape: Sequence[int | str | None] | None) -> str:
    """As `shape_text`, with spaces: "batch x 3 x 224 x 224"."""
    if shape is None:
        return "?"
    return " x ".join("?" if _nameless(d) else str(d) for d in shape) or "scalar"


def _nameless(size: int | str | None) -> bool:
    """Whether the size of an axis says nothing to a reader: unknown, or with a long or made-up name."""
    return size is None or len(str(size)) > 8 or str(size).startswith("unk__")


def axes_text(numbers: Sequence[float]) -> str:
    """One number where all are equal, else one per axis with x between."""
    texts = [f"{n:g}" for n in numbers]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)
