"""What is known of the models that have a name: as a table, as lines, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..terminal.echo import one_line
from ..terminal.table import Column, table, terminal_width

if TYPE_CHECKING:
    from ...models import ModelInfo


def as_table(known: Sequence[ModelInfo]) -> str:
    """A line for each model."""
    columns = [Column("name"), Column("file"), Column("size", right=True), Column("what it is", least=20)]
    rows = [[info.name, _where(info), _size(info), info.title] for info in known]
    return table(columns, rows, terminal_width())


def as_text(info: ModelInfo) -> str:
    """A line for each fact."""
    lines = [
        ("name", info.name),
        ("what it is", info.title),
        ("file", str(info.path) if info.path else _where(info)),
        ("size", _size(info)),
        ("sha256", info.sha256 or ""),
        ("origin", info.origin),
        ("licence", info.licence),
        ("stated by", info.facts),
        *((key, _value(value)) for key, value in info.card.items()),
    ]
    width = max(len(title) for title, _ in lines)
    return "\n".join(f"{title:<{width}}  {one_line(text)}" for title, text in lines if text)


def to_mapping(info: ModelInfo) -> dict[str, Any]:
    """For JSON."""
    from ..files.manifest import plain

    fields = ("name", "title", "path", "bytes", "sha256", "url", "origin", "licence", "facts", "card")
    mapping: dict[str, Any] = plain({field: getattr(info, field) for field in fields})
    return mapping


def _where(info: ModelInfo) -> str:
    if info.path is not None:
        return "built in" if info.name == "builtin" else "here"
    return "bring your own" if info.url is None else "models pull"


def _size(info: ModelInfo) -> str:
    if info.bytes is None:
        return ""
    return f"{info.bytes / 1e6:.1f} MB" if info.bytes >= 1e5 else f"{info.bytes / 1e3:.0f} kB"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        shown = ", ".join(str(item) for item in value[:12])
        return f"{shown}, ... ({len(value)})" if len(value) > 12 else shown
    return str(value)
