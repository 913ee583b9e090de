"""`onnxray inspect`: what is in a model, and what onnxray decided about it."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import open_model
from ..terminal.echo import echo, echo_json


@click.command("inspect")
@options.model
@click.option("-v", "--verbose", is_flag=True, help="Also why class activation mapping fits each layer or not.")
@options.as_json
@options.card
def command(model: str, verbose: bool, as_json: bool, card: dict[str, Any]) -> None:
    """List a model's layers, inputs, outputs and what is decided about them.

    Receptive fields are given in pixels of the input: the field's size, the stride from one element to the next, and
    the offset of the first element's centre. MACs are multiply-accumulates for one sample. CAM says whether class
    activation mapping fits.
    """
    from ...engine.inspection import inspect
    from ..tasks.inspect import as_text, to_mapping

    report = inspect(open_model(model, card))
    echo_json(to_mapping(report), default=str) if as_json else echo(as_text(report, verbose))
