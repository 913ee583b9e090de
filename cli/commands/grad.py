"""`onnxray grad`: a model that also computes gradients, as an .onnx file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import options
from ..terminal.echo import echo, echo_json


@click.command("grad")
@options.model
@click.option(
    "--of", "of", metavar="NAME", multiple=True, help="Value to differentiate; default: the first float output."
)
@click.option(
    "--wrt", "wrt", metavar="NAME", multiple=True, help="Value to differentiate by; default: every float input."
)
@click.option(
    "--rules",
    type=click.Choice(["none", "guided", "deconvnet"]),
    default="none",
    show_default=True,
    help="Rules for rectifiers: the derivative, guided backpropagation or deconvnet.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The .onnx file to write.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--verify", is_flag=True, help="Compare with finite differences of the model; exit 1 if they differ.")
@click.option(
    "--feeds", type=click.Path(path_type=Path), metavar="FILE", help="Inputs for --verify: an .npz, one array each."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random numbers of --verify.")
@options.as_json
@options.quiet
def command(as_json: bool, quiet: bool, progress: bool, **asked: Any) -> None:
    """Write a model that also computes gradients, in standard ONNX operators.

    The new model has the inputs of MODEL and one `cotangent/NAME` per --of; its outputs are those of MODEL and one
    `grad/NAME` per --wrt: the sum over --of of cotangent times derivative. Feed a cotangent of zeros with a one at a
    class for the gradient of that class.
    """
    from ..tasks.grad import GradOptions, as_text, check_out, check_verified, grad

    wanted = GradOptions(**asked)
    check_out(wanted)
    if wanted.rules != "none" and wanted.verify:
        raise click.UsageError("--verify compares with the derivative: it has no meaning with --rules")
    result = grad(wanted)
    echo_json(result) if as_json else echo(as_text(result))
    check_verified(result)
