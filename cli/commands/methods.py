"""`onnxray methods`: the explanation methods and their options."""

from __future__ import annotations

import click

from ..parameters import complete, options
from ..terminal.echo import echo, echo_json
from ..terminal.help import Command


@click.command("methods", cls=Command, example="methods integrated-gradients")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.methods)
@options.as_json
def command(name: str | None, as_json: bool) -> None:
    """List the explanation methods, or describe one with its options.

    NAME is a method or one of its other names: `ig` is `integrated-gradients`.
    """
    from ..tasks.methods import as_table, as_text, chosen, to_mapping

    if as_json:
        found = [to_mapping(cls) for cls in chosen(name)]
        echo_json(found if name is None else found[0])
    else:
        echo(as_table(chosen(None)) if name is None else as_text(chosen(name)[0]))
