"""`onnxray explain`: why a model answers as it does, for images, by any number of methods."""

from __future__ import annotations

import json
from typing import Any

import click

from ..files.output import Output
from ..parameters import options
from ..parameters.inputs import card_of, find_images, finish, open_model
from ..parameters.methods import chosen_methods, listing, plain_options
from ..tasks.explain import DEFAULT, Explainer, check_options, section, target_of

FORMATS = ("npy", "heatmap", "overlay", "classes", "sheet")


def _formats(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from ...engine.errors import nearest

    chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
    for part in chosen:
        if part not in FORMATS:
            close = nearest(part, FORMATS, 1)
            hint = f" (nearest: {close[0]!r})" if close else ""
            raise click.BadParameter(f"{part!r} is none of {', '.join(FORMATS)}{hint}")
    if not chosen:
        raise click.BadParameter(f"name at least one of {', '.join(FORMATS)}")
    return chosen


def _list_methods(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(listing())
        context.exit()


@click.command("explain")
@options.model
@options.images
@click.option(
    "-m",
    "--method",
    "methods",
    metavar="NAME,...",
    multiple=True,
    default=(DEFAULT,),
    show_default=DEFAULT,
    help="Methods, with commas or given several times; `all` for every one that fits the model.",
)
@click.option(
    "-t",
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    default=("predicted",),
    show_default="predicted",
    help="What is explained; may be given several times. `predicted`, a class by number or label, `top:3`, "
    "`contrast:A,B`, `prob:CLASS`, `unit:LAYER:CHANNEL[,Y,X]`, `region:CLASS[:Y0,X0,Y1,X1]`, `element:VALUE:I,J,...`.",
)
@options.layers
@click.option(
    "-o",
    "--option",
    "settings",
    metavar="[METHOD:]NAME=VALUE",
    multiple=True,
    help="An option of a method, or of all that have it: steps=100. See --list-methods.",
)
@click.option(
    "--format",
    "formats",
    metavar=",".join(FORMATS),
    default=",".join(FORMATS),
    callback=_formats,
    help="What is written for each image; everything if not given.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    metavar="SHARE",
    help="Share of the colours in overlays where the map is greatest.",
)
@click.option("--colormap", metavar="NAME", help="Colours of the maps; the method's own if not given.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Also the region whose values are at least this part of the greatest: mask, outlines and box, as JSON too.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most inputs, copies of the image among them, that run together; chosen by their size if not given.",
)
@click.option(
    "--list-methods",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods with their options, and exit.",
)
@options.as_json
@options.output("onnxray-explain", resume=True)
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    targets: tuple[str, ...],
    layers: tuple[str, ...],
    settings: tuple[str, ...],
    formats: tuple[str, ...],
    alpha: float,
    colormap: str | None,
    threshold: float | None,
    rows: int | None,
    as_json: bool,
    output: Output,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Show why a model answers as it does for images.

    For each image, method and target: the map as a float32 .npy file, signed and not normalised; the map in colours;
    its overlay on the image. Per image, a sheet with all of them beside one another, each with the range of its
    colours. With --threshold, the hottest region as well. Occlusion also shows what the answer becomes with each part
    of the image hidden.
    """
    from ...engine.errors import ImageError, MethodError, TargetError
    from ...engine.inference.batches import RunOptions
    from ..files.images import read
    from ..files.run import Run, describe, describe_card, done, failed
    from ..terminal.progress import Progress

    chosen, every = chosen_methods(methods, settings)
    loaded = open_model(model, card)
    found = card_of(loaded, quiet)
    asked = [target_of(text, loaded, found.labels) for text in targets]
    check_options(loaded, layers, colormap, chosen, every)
    paths = find_images(images)
    about = {"model": describe(loaded), "card": describe_card(found), "layers": list(layers)}
    options_asked = {
        "methods": {m.name: plain_options(m) for m in chosen},
        "targets": [str(t) for t in asked],
        "formats": list(formats),
        "alpha": alpha,
        "colormap": colormap,
        "threshold": threshold,
        "rows": rows,
        **runtime,
    }
    with (
        Run(output, "explain", options_asked, about, paths) as run,
        Progress(len(paths), quiet=quiet, bar=progress) as bar,
    ):
        work = Explainer(
            loaded,
            asked,
            layers,
            chosen,
            RunOptions(**runtime, batch=rows),
            run,
            formats,
            alpha,
            colormap,
            threshold,
            every,
            bar.part,
        )
        folders = [run.name(path.stem) for path in paths]
        for path, folder in zip(paths, folders, strict=True):
            entry = run.kept(path)
            if entry is None:
                try:
                    results, files = work.one(path, read(path), folder)
                    entry = done(path, files, **results)
                except (ImageError, TargetError) as error:
                    bar.say(f"{path}: {error}" if isinstance(error, TargetError) else str(error), error=True)
                    entry = failed(path, error)
            for text in work.news():
                bar.say(text)
            run.add(entry)
            bar.step(path.name)
        if every and not work.methods:
            raise MethodError("no method fits this model: see `onnxray explain --list-methods`")
        if work.left_out:
            run.manifest["left_out"] = work.left_out
    if as_json:
        click.echo(json.dumps(run.document(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(output.folder))
    finish(run.entries)


__all__ = ["Explainer", "command", "section"]
