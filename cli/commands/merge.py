"""`onnxray merge`: results over parts of a data set become the result over all of it."""

from __future__ import annotations

from pathlib import Path

import click

from ..parameters import options
from ..terminal.echo import echo_json, echo_path
from ..terminal.help import OUTPUT, Command


@click.command("merge", cls=Command, example="merge part1 part2 --out whole")
@click.argument("parts", metavar="RESULT...", nargs=-1, required=True)
@options.option(
    "-o",
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    section=OUTPUT,
    help="Folder for the merged result.",
)
@options.replace("Replace another result in the folder.")
@options.as_json
def command(parts: tuple[str, ...], out: Path, force: bool, as_json: bool) -> None:
    """Merge results over parts of a data set, or parts of a site, into the whole.

    RESULT is a folder that `onnxray explain`, `predict`, `activations` or `evaluate` wrote with --shard, or with --on
    and --parts; one that `onnxray top` or `onnxray health` wrote, or the folder `result` in it; or one part of a site
    (`onnxray microscope`). The merged result is the same, byte for byte, as that of one run over everything; those of
    `onnxray top` may be any parts, not only those of --shard.
    """
    from ..pages.microscope import write_pages
    from ..pages.report import document
    from ..tasks.merge import merge_any

    manifest = merge_any([Path(part) for part in parts], out, force, document, write_pages)
    echo_json(manifest) if as_json else echo_path(out)
