"""`onnxray grad`: a model that also computes gradients, as an .onnx file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import options
from ..terminal.echo import echo, echo_json
from ..terminal.help import Command


@click.command("grad", cls=Command, example="grad model.onnx --of logits --wrt image -o gradient.onnx --verify")
@options.model
@options.option(
    "--of", "of", metavar="NAME", multiple=True, help="Value to differentiate; default: the first float output."
)
@options.option(
    "--wrt",
    "wrt",
    metavar="NAME",
    multiple=True,
    help="Value to differentiate with respect to; default: every float input.",
)
@options.option(
    "--rules",
    type=click.Choice(["none", "guided", "deconvnet"]),
    default="none",
    show_default=True,
    help="Backward rule of rectifiers: the derivative (none), guided backpropagation or deconvnet.",
)
@options.option("--verify", is_flag=True, help="Compare with finite differences of the model; exit 1 if they differ.")
@options.option(
    "--feeds",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Inputs for --verify: an .npz with one array per input.",
)
@options.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed of --verify.")
@options.out_file(required=True)
@options.replace("Replace existing files.")
@options.as_json
@options.quiet
def command(as_json: bool, quiet: bool, progress: bool, **asked: Any) -> None:
    """Write a model that also computes gradients, in standard ONNX operators.

    The new model has the inputs of MODEL and one `cotangent/NAME` per --of; its outputs are those of MODEL and one
    `grad/NAME` per --wrt: the sum over --of of cotangent times derivative. Feed a cotangent that is 1 at a class and 0
    elsewhere for the gradient of that class.
    """
    from ..tasks.grad import GradOptions, as_text, check_out, check_verified, grad

    wanted = GradOptions(**asked)
    check_out(wanted)
    if wanted.rules != "none" and wanted.verify:
        raise click.UsageError("--verify compares with the derivative: it cannot be combined with --rules")
    result = grad(wanted)
    echo_json(result) if as_json else echo(as_text(result))
    check_verified(result)
