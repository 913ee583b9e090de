"""The end of commands on a cluster."""

from __future__ import annotations

from typing import Any

import click

from ..parameters.scale import Scale
from ..terminal.echo import echo_json, echo_path, say

# Commands whose results can stay in parts.
_IN_PARTS = ("activations", "explain", "predict")


def finish_on(command: str, options: Any, scale: Scale) -> None:
    """Do a command on a cluster; prints the manifest, or the folder's name. Exit code 1 where some images failed."""
    from ..files.remote import is_uri, uri_of
    from ..pages.microscope import write_pages
    from ..pages.report import document
    from ..tasks.cluster.job import Pages
    from ..tasks.cluster.on_ray import on_ray

    if options.output is None:
        raise click.UsageError("--on writes results where they arise: give a folder that all processes see with --out")
    if scale.in_parts and command not in _IN_PARTS:
        raise click.UsageError(f"--parts is about {', '.join(_IN_PARTS)}: leave it out")
    result = on_ray(command, options, scale, Pages(document, write_pages))
    if options.common.as_json and not is_uri(result.folder):
        from ..files.manifest import read_manifest

        echo_json(read_manifest(options.output.folder))
    else:
        echo_path(uri_of(result.folder))
    if result.failed:
        say(f"{result.failed} of {result.images} images failed")
        click.get_current_context().exit(1)
