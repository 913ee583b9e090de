"""`onnxray microscope`: a site over every layer and unit of a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import BUILTIN, finish_run
from ..parameters.scale import Scale, scale
from ..terminal.help import OUTPUT, RUN, Command
from .finishing import finish_on

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A time such as 90, 90s, 30m, 2h in seconds. Raises click.BadParameter."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no time: give 90s, 30m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


@click.command("microscope", cls=Command, example="microscope builtin -o site")
@click.argument("model", metavar="[MODEL]", default=BUILTIN, shell_complete=complete.models)
@click.argument("images", metavar="[IMAGES...]", nargs=-1, shell_complete=complete.images)
@options.layers
@options.option("--units", metavar="RANGES", default="", help="Units of each layer: 0-15,20; default: all.")
@options.option(
    "--steps", type=click.IntRange(min=1), default=48, show_default=True, help="Steps of each optimised picture."
)
@options.option(
    "--picture-size",
    "side",
    type=click.IntRange(min=16),
    default=96,
    show_default=True,
    metavar="PIXELS",
    help="Side of each optimised picture, if the network accepts it.",
)
@options.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@options.option("--diverse/--no-diverse", default=True, help="Also draw several different pictures of each unit.")
@options.option(
    "--time",
    metavar="TIME",
    callback=seconds,
    section=RUN,
    help="Stop making pictures after 90s, 30m or 2h; --resume goes on. Coarse ones come first.",
)
@scale
@options.option(
    "--examples",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the strongest images from a result of `onnxray top`, in place of looking at IMAGES again.",
)
@options.option(
    "--live",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section=OUTPUT,
    help="Add a page that runs the model in the browser. DIR: of the npm package onnxruntime-web.",
)
@options.common("onnxray-microscope", resume=True)
def command(common: options.Common, scale: Scale, **asked: Any) -> None:
    """Make a site over every layer and unit of a model, to be opened from disk.

    A page for each layer and each unit, with images optimised to excite it; search, and the model's graph to walk
    through. The site needs no server and no network. Coarse pictures are made first, then fine ones; what is done is
    kept when the run ends early.
    """
    from ..pages.live import prepare_live
    from ..pages.microscope import write_pages
    from ..tasks.microscope import MicroscopeOptions, microscope

    shard, most = (scale.share.number, scale.share.parts), scale.share.max_failures
    wanted = MicroscopeOptions(common=common, shard=shard, max_failures=most, **asked)
    if scale.address is not None:
        if wanted.time is not None or wanted.live is not None:
            raise click.UsageError("--time and --live are about runs on one machine: leave them out")
        finish_on("microscope", wanted, scale)
        return
    finish_run(microscope(wanted, write_pages, prepare_live), common.as_json)
