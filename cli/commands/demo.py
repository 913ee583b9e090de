"""`onnxray demo`: everything onnxray shows, in one report."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import BUILTIN, finish
from ..terminal.echo import echo_path
from ..terminal.help import Command


@click.command("demo", cls=Command, example="demo model.onnx photos/ -o report")
@click.argument("model", metavar="[MODEL]", default=BUILTIN, shell_complete=complete.models)
@click.argument("images", metavar="[IMAGES...]", nargs=-1, shell_complete=complete.images)
@options.common("onnxray-demo", json=False)
def command(common: options.Common, **asked: Any) -> None:
    """Show everything on the built-in model: a report in a few seconds.

    Without arguments the report is about the built-in model and its sample images; with MODEL and IMAGES it is about
    those. The report is one self-contained HTML file; a manifest, the pictures and a small site of `onnxray microscope`
    are written next to it. The default folder is replaced if an earlier demo made it; any other needs --force.
    """
    from ..pages.microscope import write_pages
    from ..pages.report import document
    from ..tasks.demo import DemoOptions, demo

    wanted = DemoOptions(common=common, **asked)
    if not wanted.images and wanted.model != BUILTIN:
        raise click.UsageError("no images: give them as well, as in `onnxray demo MODEL IMAGES...`")
    run = demo(wanted, document, write_pages)
    echo_path(run.folder / "index.html")
    finish(run.entries)
