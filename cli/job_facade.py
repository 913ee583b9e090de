"""What of the public Python interface does a command over many images: whole, in parts, or on a cluster."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.errors import MethodError, UnknownName

# Commands over many images whose parts can be merged.
COMMANDS = ("activations", "evaluate", "explain", "microscope", "predict", "top")


def job(
    command: str,
    model: str | os.PathLike[str],
    images: Any = (),
    out: str | os.PathLike[str] = "onnxray-job",
    *,
    on: str | None = None,
    shard: tuple[int, int] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Do a command of the command line over many images: on this machine, a part of it, or all of it on a Ray cluster.

        onnxray.job("explain", "model.onnx", "photos/", out="maps", method="grad-cam", on="ray")
        onnxray.job("top", "model.onnx", "photos/", out="part-3", shard=(3, 16), resume=True)

    command: "explain", "predict", "activations" (with `stats=True` only statistics), "top", "microscope", "evaluate".
    model: the path of a file, or a name. images: a path, a folder, a pattern, a list such as "@list.txt" or
        "images.parquet", a bucket such as "s3://bucket/photos"; or several in a list. out: the folder of the run.
    on: "ray", a cluster that is started on this machine; "ray:auto", the one that runs here; "ray:HOST:PORT". shard:
        (I, N), do the I-th of N parts, which `merge` joins.
    options: those of the command (docs/cli.md), with underscores: `force`, `resume`, `max_failures`, `recursive`; with
        `on` also `actors`, `cpus`, `gpus`, `block`, `parts`. What may be given several times is a list.

    Returns the manifest; {} where it lies in a bucket. Images that fail have status "failed" and their error there.

    Raises UnknownName (command, option), MethodError (options that do not go together), RuntimeUnavailable (Ray is not
    installed, no cluster at the address, or one of other versions), OutputError (a folder that holds something else),
    ImageError, and what the command raises.
    """
    from .files.manifest import read_manifest

    if command not in COMMANDS:
        raise UnknownName("command over many images", command, COMMANDS)
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    line = [command, str(model), *map(str, given), "--out", os.fspath(out), "--quiet"]
    if on is not None:
        line += ["--on", on]
    if shard is not None:
        line += ["--shard", "/".join(map(str, shard))]
    _do([*line, *_as_line(options)])
    return read_manifest(Path(out)) or {}


def merge(
    parts: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, force: bool = False
) -> dict[str, Any]:
    """Join parts of a run (`job` with `shard`, or with `on` and `parts`), or results of `top` and `health`.

    parts: folders, in any order. out: the folder of the whole, which `force` replaces. The result is the same, byte for
    byte, as that of one run over everything.

    Returns the manifest. Raises OutputError (a part that is missing, not finished, or of another run), MethodError
    (results that do not fit each other).
    """
    from .pages.microscope import write_pages
    from .pages.report import document
    from .tasks.merge import merge_any

    return merge_any([Path(part) for part in parts], Path(out), force, document, write_pages)


def _as_line(options: Mapping[str, Any]) -> Iterator[str]:
    """Keyword arguments as options of the command line."""
    for name, value in options.items():
        text = f"--{name.replace('_', '-')}"
        if value is True:
            yield text
        elif value is not None and value is not False:
            for one in value if isinstance(value, list) else [value]:
                yield text
                yield ",".join(map(str, one)) if isinstance(one, tuple) else str(one)


def _do(line: Sequence[str]) -> None:
    """Run a command; what it prints on stdout is left out."""
    import click

    from .main import main

    try:
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")):
            main.main(list(line), standalone_mode=False)
    except click.NoSuchOption as error:
        raise UnknownName(f"option of {line[0]}", error.option_name, error.possibilities or ()) from None
    except click.ClickException as error:
        raise MethodError(error.format_message()) from None
