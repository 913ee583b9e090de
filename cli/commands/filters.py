"""`onnxray filters`: the weights of a layer as pictures, and what each filter makes of an image."""

from __future__ import annotations

import json
from typing import Any

import click

from ..files.output import Output
from ..parameters import options
from ..parameters.inputs import card_of, find_images, finish, open_model
from ..tasks.filters import apply, choose, draw, order_of


@click.command("filters")
@options.model
@options.layers
@click.option("--on", metavar="IMAGES", multiple=True, help="Also what each filter makes of these images.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="N",
    help="How many output channels to show, largest norm first, and input channels where there is a grid of both.",
)
@click.option("--all", "every", is_flag=True, help="All output channels, by number.")
@click.option("--each", is_flag=True, help="Every filter in its own range of colours, which is written below it.")
@options.as_json
@options.output("onnxray-filters")
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    layers: tuple[str, ...],
    on: tuple[str, ...],
    most: int,
    every: bool,
    each: bool,
    as_json: bool,
    output: Output,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Picture the weights of a layer, and what each filter makes of an image.

    Filters that read the image's colours are drawn in colour, weight 0 as mid gray. Deeper kernels are a grid of output
    by input channels in a diverging map; dense layers and 1x1 convolutions a matrix. Without --layer: the first
    convolution.
    """
    from ...engine.errors import ImageError
    from ..files.images import read
    from ..files.run import Run, describe, describe_card, done, failed
    from ..tasks.subject import LayerValues
    from ..terminal.progress import Progress

    loaded = open_model(model, card)
    found = card_of(loaded, quiet) if on else None
    chosen = choose(loaded, layers, quiet)
    paths = find_images(on) if on else []
    about = {
        "model": describe(loaded),
        "card": describe_card(found) if found else None,
        "layers": [weights.layer.name for weights in chosen],
    }
    asked = {"all": every, "most": most, "each": each, **runtime}
    with (
        Run(output, "filters", asked, about, paths) as run,
        Progress(len(paths), quiet=quiet, bar=progress) as bar,
    ):
        bases = [run.name(weights.layer.name) for weights in chosen]
        run.manifest["filters"] = []
        for weights, base in zip(chosen, bases, strict=True):
            picture, entry = draw(weights, most, every, each, order_of(loaded, found, weights))
            entry["files"] = [run.array(f"{base}.npy", weights.values), run.picture(f"{base}.png", picture)]
            run.manifest["filters"].append(entry)
            run.manifest["files"] += entry["files"]
        folders = [run.name(path.stem) for path in paths]
        for path, folder in zip(paths, folders, strict=True):
            assert found is not None
            work = LayerValues(loaded, found, runtime)
            try:
                photo, tensor = work.prepare(path.name, read(path))
            except ImageError as error:
                bar.say(str(error), error=True)
                run.add(failed(path, error))
            else:
                files, results = [], []
                for weights, base in zip(chosen, bases, strict=True):
                    picture, result = apply(work, weights, photo, tensor, most, every)
                    files.append(run.picture(f"{folder}/{base}.png", picture))
                    results.append(result)
                run.add(done(path, files, size=list(photo.pixels.shape[:2]), layers=results))
            bar.step(path.name)
    if as_json:
        click.echo(json.dumps(run.document(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(output.folder))
    finish(run.entries)


__all__ = ["apply", "choose", "command", "draw"]
