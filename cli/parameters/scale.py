"""Options of runs over many images: parts of them for several processes or machines, or all on a Ray cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ..sources.share import WHOLE, Share
from ..terminal.help import SCALE
from .options import option
from .shards import shard

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Scale:
    """share: which part of the run is done here. address: of the Ray cluster that does it, "" for one that is started
    on this machine; None: no Ray. actors: how many, None for as many as there is room for; cpus, gpus: of each.
    block: images, or pieces of work, that are done as a whole or not at all. in_parts: whether results stay in files
    of their blocks. verbose: whether Ray's own messages are passed on.
    """

    share: Share = WHOLE
    address: str | None = None
    actors: int | None = None
    cpus: float = 1
    gpus: float = 0
    block: int = 64
    in_parts: bool = False
    verbose: bool = False


def scale(f: F) -> F:
    """--shard, --max-failures, --on and what belongs to it; the command gets one `Scale`, as `scale`."""

    @functools.wraps(f)
    def command(*args: Any, **given: Any) -> Any:
        asked = {name: given.pop(name) for name in _ASKED}
        number, parts = given.pop("shard")
        source = click.get_current_context().get_parameter_source("shard")
        asked_for = source != click.core.ParameterSource.DEFAULT
        share = Share(number, parts, max_failures=given.pop("max_failures"), asked=asked_for)
        address = given.pop("on")
        if address is None:
            _refuse_rays_own()
        elif not share.whole:
            raise click.UsageError("--on cuts the run into blocks itself: leave --shard out")
        return f(*args, scale=Scale(share, address, **asked), **given)

    stack: Any = command
    text = "With --on: pass on what Ray says."
    stack = option("--verbose", is_flag=True, section=SCALE, help=text)(stack)
    text = (
        "With --on: leave the results in the folder `parts`, a Parquet file of records and a tar of pictures for each "
        "block; what is said of all images is written as usual. `onnxray merge` unpacks them."
    )
    stack = option("--parts", "in_parts", is_flag=True, section=SCALE, help=text)(stack)
    text = "With --on: images of a block, which is done as a whole or not at all."
    kind: Any = click.IntRange(min=1)
    stack = option("--block", type=kind, default=64, show_default=True, section=SCALE, help=text)(stack)
    text = "With --on: GPUs of each actor, such as 1 or 0.25."
    kind = click.FloatRange(0)
    stack = option("--gpus", type=kind, default=0, show_default=True, section=SCALE, help=text)(stack)
    text = "With --on: processors of each actor."
    kind = click.FloatRange(0, min_open=True)
    stack = option("--cpus", type=kind, default=1, show_default=True, section=SCALE, help=text)(stack)
    text = "With --on: processes that work; default: as many as the cluster has room for."
    stack = option("--actors", type=click.IntRange(min=1), section=SCALE, help=text)(stack)
    text = (
        "Run on a Ray cluster: `ray` starts one on this machine, ray:auto joins the one that runs here, ray:HOST:PORT "
        "another. Needs onnxray[ray]."
    )
    stack = option("--on", metavar="ray[:ADDRESS]", callback=_address, section=SCALE, help=text)(stack)
    text = "End the run when more images than this have failed; default: however many fail."
    stack = option("--max-failures", type=click.IntRange(min=0), section=SCALE, help=text)(stack)
    decorated: F = shard(stack)
    return decorated


_ASKED = ("actors", "cpus", "gpus", "block", "in_parts", "verbose")


def _address(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """The address of the cluster, "" for one on this machine. Raises click.BadParameter."""
    if text is None:
        return None
    kind, _, address = text.partition(":")
    if kind != "ray":
        raise click.BadParameter(f"{text!r} is none of ray, ray:auto, ray:HOST:PORT")
    return text if address.startswith("//") else address


def _refuse_rays_own() -> None:
    """Raises click.UsageError for options of Ray without --on."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in _ASKED and source == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} is about runs on Ray: give --on ray as well")
