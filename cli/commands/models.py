"""`onnxray models`: the built-in model, and well-known public ones: downloads, or cards for files of your own."""

from __future__ import annotations

import click

from ..parameters import complete, options
from ..terminal.echo import echo, echo_json, echo_path
from ..terminal.help import Group


@click.group("models", cls=Group)
def command() -> None:
    """List the built-in model and the cards of well-known public models.

    A card says how images are prepared for a model and what its classes are called.
    """


def _name(f: options.F) -> options.F:
    return click.argument("name", shell_complete=complete.model_names)(f)


@command.command("list", short_help="List every name that MODEL can be, and where its file is.", example="models list")
@options.as_json
def list_(as_json: bool) -> None:
    """List every name that MODEL can be, and where its file is."""
    from ... import models
    from ..tasks.models import as_table, to_mapping

    known = [models.info(name) for name in models.names()]
    echo_json([to_mapping(info) for info in known]) if as_json else echo(as_table(known))


@command.command(
    "info", short_help="Describe the model NAME: origin, licence, preprocessing.", example="models info builtin"
)
@_name
@options.as_json
def info(name: str, as_json: bool) -> None:
    """Describe the model NAME: origin, licence, preprocessing."""
    from ... import models
    from ..tasks.models import as_text, to_mapping

    found = models.info(name)
    echo_json(to_mapping(found)) if as_json else echo(as_text(found))


@command.command("path", short_help="Print the path of the model NAME's file.", example="models path builtin")
@_name
def path(name: str) -> None:
    """Print the path of the model NAME's file."""
    from ... import models

    echo_path(models.path(name))


@command.command(
    "pull", short_help="Download the model NAME's file and check its sha256.", example="models pull squeezenet1.1-7"
)
@_name
@options.quiet
def pull(name: str, quiet: bool, progress: bool) -> None:
    """Download the model NAME's file and check its sha256.

    An interrupted download is continued. Prints the path of the file.
    """
    from ... import models
    from ..terminal.progress import Download

    with Download(name, quiet=quiet, bar=progress) as shown:
        found = models.pull(name, shown.update)
    echo_path(found)
