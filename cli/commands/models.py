"""`onnxray models`: the built-in model, and well-known public ones that can be fetched or only have a card here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..parameters import options
from ..terminal.table import Column, one_line, table, terminal_width

if TYPE_CHECKING:
    from ...models import ModelInfo


@click.group("models")
def command() -> None:
    """The built-in model and cards of well-known public ones."""


@command.command("list", short_help="List every name that MODEL can be, and where its file is.")
@options.as_json
def list_(as_json: bool) -> None:
    """List every name that MODEL can be, and where its file is."""
    from ... import models

    found = [models.info(name) for name in models.names()]
    if as_json:
        click.echo(json.dumps([_mapping(info) for info in found], indent=2, ensure_ascii=False))
        return
    columns = [Column("name"), Column("file"), Column("size", right=True), Column("what it is", least=20)]
    rows = [[info.name, _where(info), _size(info), info.title] for info in found]
    click.echo(table(columns, rows, terminal_width()))


@command.command("info", short_help="Show what is known of the model NAME: origin, licence, preprocessing.")
@click.argument("name")
@options.as_json
def info(name: str, as_json: bool) -> None:
    """Show what is known of the model NAME: origin, licence, preprocessing."""
    from ... import models

    found = models.info(name)
    if as_json:
        click.echo(json.dumps(_mapping(found), indent=2, ensure_ascii=False))
        return
    lines = [
        ("name", found.name),
        ("what it is", found.title),
        ("file", str(found.path) if found.path else _where(found)),
        ("size", _size(found)),
        ("sha256", found.sha256 or ""),
        ("origin", found.origin),
        ("licence", found.licence),
        ("stated by", found.facts),
        *((key, _value(value)) for key, value in found.card.items()),
    ]
    width = max(len(title) for title, _ in lines)
    click.echo("\n".join(f"{title:<{width}}  {one_line(text)}" for title, text in lines if text))


@command.command("path", short_help="Print the path of the model NAME's file.")
@click.argument("name")
def path(name: str) -> None:
    """Print the path of the model NAME's file."""
    from ... import models

    click.echo(str(models.path(name)))


@command.command(
    "pull",
    short_help="Download the model NAME's file; its sha256 is checked, and an interrupted download is continued.",
)
@click.argument("name")
@options.quiet
def pull(name: str, quiet: bool, progress: bool) -> None:
    """Download the model NAME's file; its sha256 is checked, and an interrupted download is continued."""
    from ... import models
    from ..terminal.progress import Download

    with Download(name, quiet=quiet, bar=progress) as shown:
        found = models.pull(name, shown.update)
    click.echo(str(found))


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


def _mapping(info: ModelInfo) -> dict[str, Any]:
    from ..files.run import plain

    fields = ("name", "title", "path", "bytes", "sha256", "url", "origin", "licence", "facts", "card")
    mapping: dict[str, Any] = plain({field: getattr(info, field) for field in fields})
    return mapping
