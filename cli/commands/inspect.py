"""`onnxray inspect`: what is in a model, and how onnxray interprets it."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import open_model
from ..terminal.echo import echo, echo_json
from ..terminal.help import Command


@click.command("inspect", cls=Command, example="inspect builtin")
@options.model
@options.option("-v", "--verbose", is_flag=True, help="Also print why class activation mapping fits each layer or not.")
@options.as_json
@options.card
def command(model: str, verbose: bool, as_json: bool, card: dict[str, Any]) -> None:
    """List a model's layers, inputs and outputs, and how onnxray interprets them.

    Receptive fields are in pixels of the input: their size, the stride from one element to the next, and the offset of
    the first element's centre. MACs are multiply-accumulate operations for one sample. CAM: whether class activation
    mapping fits the layer. Long names are shortened in the middle; --json prints them whole.
    """
    from ...engine.inspection import inspect
    from ..tasks.inspect import as_text, to_mapping

    report = inspect(open_model(model, card))
    echo_json(to_mapping(report), default=str) if as_json else echo(as_text(report, verbose))
