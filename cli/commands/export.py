"""`onnxray export`: health, relevance, cost and time of every node, for Google's Model Explorer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import complete, options
from ..terminal.echo import echo_path
from ..terminal.help import OUTPUT, Command


@click.command("export", cls=Command, example="export builtin samples --to model-explorer")
@options.model
@click.argument("images", metavar="[IMAGES]...", nargs=-1, shell_complete=complete.images)
@options.option(
    "--to",
    type=click.Choice(["model-explorer"]),
    default="model-explorer",
    show_default=True,
    help="The program that shows the numbers on its graph.",
)
@options.option(
    "--data",
    metavar="NAME",
    multiple=True,
    help="What is exported: cost, time, relevance or health; may be given several times. Default: all that can be had.",
)
@options.option("--target", metavar="TARGET", help="What relevance is relevant to; default: the predicted class.")
@options.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    section=OUTPUT,
    default="onnxray-model-explorer",
    show_default=True,
    help="Folder for the files.",
)
@options.replace("Replace the files.")
@options.card
@options.runtime
@options.half
@options.quiet
def command(card: dict[str, Any], runtime: dict[str, Any], quiet: bool, progress: bool, to: str, **asked: Any) -> None:
    """Write numbers of every node for the graph of Google's Model Explorer.

    Cost: multiply-accumulates and parameters. Time: milliseconds of each node, not fused with others. Relevance: how
    much of the answer to the first image goes through each node. Health: dead units, values not above 0 and effective
    rank over all images. Without IMAGES there are cost and time. Each number is a JSON file; nodes are named as
    model-explorer-onnx names them.
    """
    from ..tasks.export import ExportOptions, export

    common = options.Common(card, runtime, quiet, progress)
    for path in export(ExportOptions(common=common, **asked)):
        echo_path(path)
