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

    RESULT is a folder that `onnxray top` or `onnxray health` wrote, or the folder `result` in it; or the folder of one
    part of a site (`onnxray microscope`). The merged result is the same, byte for byte, as that of one run over
    everything, if the parts were made with --shard; those of `onnxray top` may be any parts.
    """
    from ..pages.microscope import write_pages
    from ..tasks.merge import merge
    from ..tasks.merge_sites import are_sites, merge_sites

    folders = [Path(part) for part in parts]
    sites = are_sites(folders)
    manifest = merge_sites(folders, out, force, write_pages) if sites else merge(folders, out, force)
    echo_json(manifest) if as_json else echo_path(out)
