"""Parts of a data set or of a site, for several processes or machines."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from ..sources.share import bounds
from ..terminal.help import SCALE
from .options import option

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def shard(f: F) -> F:
    """--shard I/N, as (I, N); (1, 1) where nothing is given."""
    text = "Make the I-th of N parts; `onnxray merge` joins them."
    return option("--shard", metavar="I/N", callback=shard_of, section=SCALE, help=text)(f)


def shard_of(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int]:
    """I/N as (I, N). Raises click.BadParameter."""
    if text is None:
        return 1, 1
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"{text!r} is no part: give I/N with I from 1 to N, as in 3/16")
    return int(found[1]), int(found[2])


def part_of(items: Sequence[T], shard: tuple[int, int], group: int = 1) -> list[T]:
    """The I-th of N parts of `items`, about equal, cut between groups. Raises MethodError where the part is empty."""
    start, stop = bounds(len(items), *shard, group)
    return list(items[start:stop])
