"""`onnxray demo`: everything onnxray shows, in one report."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import BUILTIN, finish
from ..terminal.echo import echo_path


@click.command("demo")
@click.argument("model", metavar="[MODEL]", default=BUILTIN)
@click.argument("images", metavar="[IMAGES...]", nargs=-1)
@options.common("onnxray-demo", json=False)
def command(common: options.Common, **asked: Any) -> None:
    """Show everything on the built-in model: a report in a few seconds.

    Without arguments it needs nothing but onnxray itself: the built-in model looks at its sample images. With MODEL and
    IMAGES it makes the same report of them. The report is one HTML file without links to anywhere; a manifest and the
    pictures lie next to it. The default folder is replaced if an earlier demo made it; any other needs --force.
    """
    from ..pages.report import document
    from ..tasks.demo import DemoOptions, demo

    wanted = DemoOptions(common=common, **asked)
    if not wanted.images and wanted.model != BUILTIN:
        raise click.UsageError("give the images to look at as well: onnxray demo MODEL IMAGES...")
    run = demo(wanted, document)
    echo_path(run.folder / "index.html")
    finish(run.entries)
