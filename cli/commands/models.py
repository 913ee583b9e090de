"""`onnxray models`: the built-in model, and well-known public ones that can be fetched or only have a card here."""

from __future__ import annotations

import click

from ..parameters import options
from ..terminal.echo import echo, echo_json, echo_path


@click.group("models")
def command() -> None:
    """The built-in model and cards of well-known public ones."""


@command.command("list", short_help="List every name that MODEL can be, and where its file is.")
@options.as_json
def list_(as_json: bool) -> None:
    """List every name that MODEL can be, and where its file is."""
    from ... import models
    from ..tasks.models import as_table, to_mapping

    known = [models.info(name) for name in models.names()]
    echo_json([to_mapping(info) for info in known]) if as_json else echo(as_table(known))


@command.command("info", short_help="Show what is known of the model NAME: origin, licence, preprocessing.")
@click.argument("name")
@options.as_json
def info(name: str, as_json: bool) -> None:
    """Show what is known of the model NAME: origin, licence, preprocessing."""
    from ... import models
    from ..tasks.models import as_text, to_mapping

    found = models.info(name)
    echo_json(to_mapping(found)) if as_json else echo(as_text(found))


@command.command("path", short_help="Print the path of the model NAME's file.")
@click.argument("name")
def path(name: str) -> None:
    """Print the path of the model NAME's file."""
    from ... import models

    echo_path(models.path(name))


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
    echo_path(found)
