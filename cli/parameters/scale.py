"""Options of runs over many images: parts of them, for several processes or machines."""

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
    """share: which part of the run is done here."""

    share: Share = WHOLE


def scale(f: F) -> F:
    """--shard and --max-failures; the command gets one `Scale`, as `scale`."""

    @functools.wraps(f)
    def command(*args: Any, shard: tuple[int, int], max_failures: int | None, **given: Any) -> Any:
        return f(*args, scale=Scale(Share(*shard, max_failures=max_failures)), **given)

    text = "End the run when more images than this have failed; default: however many fail."
    stack: Any = option("--max-failures", type=click.IntRange(min=0), section=SCALE, help=text)(command)
    decorated: F = shard(stack)
    return decorated
