"""`onnxray activations`: what the layers of a model answer to images."""

from __future__ import annotations

import json
from typing import Any

import click

from ..files.output import Output
from ..parameters import options
from ..parameters.inputs import card_of, find_images, finish, open_model
from ..tasks.activations import choose, one_image, silent_in_all, write_csv
from ..tasks.subject import LayerValues


@click.command("activations")
@options.model
@options.images
@options.layers
@click.option("--all-layers", is_flag=True, help="The image's walk through the whole network, in one strip.")
@click.option("--all", "every", is_flag=True, help="All channels of a layer, by number, instead of the strongest.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="How many of the strongest channels to show.",
)
@options.as_json
@options.output("onnxray-activations", resume=True)
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    images: tuple[str, ...],
    layers: tuple[str, ...],
    all_layers: bool,
    every: bool,
    most: int,
    as_json: bool,
    output: Output,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Picture what the layers of a model answer to images.

    For each image and layer: a grid of the channels' maps, their mean on the image, a histogram before and after the
    activation function, statistics, and the values as a float32 .npy file. Layers that are no maps are drawn as bars or
    as a heat table. Without --layer and --all-layers: the last layer that still is a map.
    """
    from ...engine.errors import ImageError
    from ..files.images import read
    from ..files.run import Run, describe, describe_card, done, failed
    from ..terminal.progress import Progress

    loaded = open_model(model, card)
    found = card_of(loaded, quiet)
    chosen = choose(loaded, layers, all_layers, quiet)
    paths = find_images(images)
    about = {"model": describe(loaded), "card": describe_card(found), "layers": [layer.name for layer in chosen]}
    asked = {"all_layers": all_layers, "all": every, "most": most, **runtime}
    with (
        Run(output, "activations", asked, about, paths) as run,
        Progress(len(paths), quiet=quiet, bar=progress) as bar,
    ):
        work = LayerValues(loaded, found, runtime)
        folders = [run.name(path.stem) for path in paths]
        for path, folder in zip(paths, folders, strict=True):
            entry = run.kept(path)
            if entry is None:
                try:
                    photo, tensor = work.prepare(path.name, read(path))
                except ImageError as error:
                    bar.say(str(error), error=True)
                    entry = failed(path, error)
                else:
                    results, files = one_image(work, run, folder, photo, tensor, chosen, all_layers, every, most)
                    entry = done(path, files, size=list(photo.pixels.shape[:2]), **results)
            run.add(entry)
            bar.step(path.name)
        entries = run.entries
        run.manifest["silent_in_all_images"] = silent_in_all(entries)
        run.manifest["files"] = [run.text("statistics.csv", write_csv(entries))]
    if as_json:
        click.echo(json.dumps(run.document(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(output.folder))
    finish(entries)
