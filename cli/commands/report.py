"""`onnxray report`: everything about a model's answer to one image, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import find_images
from ..terminal.echo import echo_path
from ..terminal.help import OUTPUT, Command


@click.command("report", cls=Command, example="report builtin samples/04-crack-concrete.png -o crack.html")
@options.model
@click.argument("image", metavar="IMAGE", shell_complete=complete.images)
@options.option(
    "--examples",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Show what excites the strongest units in a data set: a folder of `onnxray microscope` or `onnxray top`.",
)
@options.option("--layer", metavar="NAME", help="Layer whose strongest units are shown; default: the last feature map.")
@options.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    section=OUTPUT,
    default="onnxray-report.html",
    show_default=True,
    help="The HTML file to write.",
)
@options.replace("Replace the file.")
@options.card
@options.runtime
@options.half
@options.quiet
def command(card: dict[str, Any], runtime: dict[str, Any], quiet: bool, progress: bool, **asked: Any) -> None:
    """Write a report about one image: one HTML file with everything in it.

    The prediction; what the model sees of the image, and what it would answer if the image were prepared otherwise; the
    attribution methods next to each other, with a slider between image and maps; the way through the layers; the
    strongest units.
    """
    from ..pages.report import document
    from ..tasks.report import ReportOptions, report

    common = options.Common(card, runtime, quiet, progress)
    found = find_images([asked["image"]])
    if len(found) != 1:
        raise click.BadParameter(f"{asked['image']!r} are {len(found)} images: name one", param_hint="'IMAGE'")
    asked["image"] = found[0]
    echo_path(report(ReportOptions(common=common, **asked), document))
