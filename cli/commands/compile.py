"""`onnxray compile`: a model together with its explanation, as an .onnx file, a Triton model, a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import options
from ..terminal.echo import echo, echo_json


@click.command("compile")
@options.model
@click.option("--method", default="grad-cam", show_default=True, metavar="NAME", help="How the answer is explained.")
@options.layers
@click.option(
    "--target",
    default="predicted",
    show_default=True,
    metavar="TARGET",
    help="predicted, runtime (a class index that is fed), a class index, a label, ...",
)
@click.option("--option", "settings", metavar="NAME=VALUE", multiple=True, help="An option of the method.")
@click.option(
    "--upsample",
    type=click.Choice(["input", "none"]),
    default="input",
    show_default=True,
    help="Bring the map to the size of the image that is fed, or leave it as the method makes it.",
)
@click.option(
    "--normalize",
    type=click.Choice(["none", "minmax", "uint8"]),
    default="none",
    show_default=True,
    help="The method's own values, or each map in 0..1 or 0..255.",
)
@click.option(
    "--preprocess",
    is_flag=False,
    flag_value="HWC",
    default=None,
    type=click.Choice(["HWC", "NHWC"], case_sensitive=False),
    help="Take uint8 RGB images of any size, one (HWC, if nothing is said) or several (NHWC).",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The .onnx file to write.")
@click.option("--triton", type=click.Path(path_type=Path), metavar="DIR", help="A Triton model repository to add to.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="DIR", help="A folder for a page that runs it."
)
@click.option(
    "--web-runtime",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The npm package onnxruntime-web for --html; node_modules here or further up if not given.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@options.card
@options.as_json
@options.quiet
def command(as_json: bool, progress: bool, **asked: Any) -> None:
    """Write a model that explains its own answers, in standard ONNX operators.

    The new model has the outputs of MODEL, unchanged but for rounding, and `saliency_map`. With `--target runtime` it
    also takes `target_class`, an int64 class index; a negative one means the predicted class. `--triton` and `--html`
    write the same for a server and for a browser; the page takes images of any size whatever --preprocess says.
    """
    from ..pages.browser_page import write_compiled
    from ..tasks.compile import CompileOptions, as_text, compile_files

    wanted = CompileOptions(**asked)
    if wanted.out is None and wanted.triton is None and wanted.page is None:
        raise click.UsageError("nothing to write: give --out FILE, --triton DIR or --html DIR")
    if wanted.web_runtime is not None and wanted.page is None:
        raise click.UsageError("--web-runtime is for the page of --html: give it as well")
    result = compile_files(wanted, write_compiled)
    echo_json(result) if as_json else echo(as_text(result))
