"""`onnxray watch`: explanations of images as they arrive in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import complete, line, options
from ..parameters.methods import DEFAULT
from ..terminal.echo import echo_json
from ..terminal.help import Command


@click.command("watch", cls=Command, example="watch incoming --model builtin --when \"label != 'clean'\"")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@options.option("--model", required=True, metavar="MODEL", help="The model.", shell_complete=complete.models)
@options.option(
    "-m",
    "--method",
    "methods",
    metavar="NAME,...",
    multiple=True,
    default=(DEFAULT,),
    help=f"Methods, separated by commas or given several times. Default: {DEFAULT}.",
    shell_complete=complete.methods,
)
@options.option(
    "-t",
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    default=("predicted",),
    help="What is explained; may be given several times: see docs/targets.md.",
    shell_complete=complete.targets,
)
@options.layers
@options.settings
@line.inspection
@options.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Share of a map's maximum that its hottest region begins at.",
)
@line.drift
@line.sinks
@options.option(
    "--move-to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Move images that are done there; else they stay, and the records say that they are done.",
)
@line.metrics
@options.selection
@options.devices
@options.common("onnxray-watch")
def command(common: options.Common, **asked: Any) -> None:
    """Explain images as they arrive in a folder, until the command is stopped.

    For each image one line of JSON is written to `records.jsonl` in --out, on disk before the next one. After a restart
    the command goes on with what is not in there: nothing is lost or done twice, even if the process was killed.
    SIGTERM finishes the images in work. Half-written files, unreadable ones, a full disk and a folder that vanishes
    for a while do not end it.

    With --reference each record says how far the image has drifted from the first ones; see docs/production.md.
    """
    from ..tasks.watch import WatchOptions, watch

    if asked["selection"].every != 1:
        raise click.UsageError("--every has no meaning here: all images that arrive are done")
    found = watch(WatchOptions(common=common, **asked))
    if common.as_json:
        echo_json({"done": found.done, **({"alarmed": found.alarmed} if asked["drift"].alarm else {})})
    if found.alarmed:
        click.get_current_context().exit(line.ALARMED)
