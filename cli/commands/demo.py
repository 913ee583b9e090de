"""`onnxray demo`: everything onnxray shows, in one report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..files.output import Output
from ..parameters import options
from ..parameters.inputs import BUILTIN, card_of, find_images, finish, open_model

FOLDER = "onnxray-demo"


@click.command("demo")
@click.argument("model", metavar="[MODEL]", default=BUILTIN)
@click.argument("images", metavar="[IMAGES...]", nargs=-1)
@options.output(FOLDER)
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    images: tuple[str, ...],
    output: Output,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Show everything on the built-in model: a report in a few seconds.

    Without arguments it needs nothing but onnxray itself: the built-in model looks at its sample images. With MODEL and
    IMAGES it makes the same report of them. The report is one HTML file without links to anywhere; a manifest and the
    pictures lie beside it. The default folder is replaced where an earlier demo made it; any other needs --force.
    """
    from ...engine.errors import ImageError
    from ..files.images import read
    from ..files.run import Run, describe, describe_card, done, failed, made_by
    from ..pages.report import SECTIONS, document, sections
    from ..tasks.subject import LayerValues, Subject
    from ..terminal.progress import Progress

    if not images and model != BUILTIN:
        raise click.UsageError("give the images to look at as well: onnxray demo MODEL IMAGES...")
    if output.default and made_by(output.folder) == "demo":
        output = replace(output, force=True)
    loaded = open_model(model, card)
    found = card_of(loaded, quiet)
    paths = find_images(images or [str(samples())])
    about = {"model": describe(loaded), "card": describe_card(found)}
    with (
        Run(output, "demo", runtime, about, paths) as run,
        Progress(len(SECTIONS), "sections", quiet=quiet, bar=progress) as bar,
    ):
        pictures = []
        for path in paths:
            try:
                pixels = read(path)
            except ImageError as error:
                bar.say(str(error), error=True)
                run.add(failed(path, error))
            else:
                pictures.append((path, pixels))
                run.add(done(path, size=list(pixels.shape[:2])))
        if not pictures:
            raise ImageError("none of the images can be read")
        subject = Subject(loaded, found, tuple(pictures), _focus(pictures), LayerValues(loaded, found, runtime))
        parts = []
        for section in sections(subject):
            parts.append(section)
            for picture in section.pictures:
                name = run.name(f"{picture.name}.png", "pictures")
                run.manifest["files"].append(run.data(name, picture.png))
            bar.step(section.title)
        title = "onnxray demo" if model == BUILTIN else f"onnxray: {Path(model).name}"
        lead = (
            f"What the model answers for {len(pictures)} image{'s' * (len(pictures) > 1)}, what happens in its layers "
            f"on the way, and what it has learned to look for. The image looked at closely: {subject.focused[0].name}."
        )
        run.manifest["files"].append(run.text("index.html", document(title, lead, subject, parts)))
    click.echo(str(output.folder / "index.html"))
    finish(run.entries)


def samples() -> Path:
    """The folder of the built-in model's sample images."""
    return Path(__file__).parents[2] / "models" / "samples"


def _focus(pictures: list[tuple[Path, Any]]) -> int:
    """The first image whose name does not call it clean: there is more to see."""
    return next((i for i, (path, _) in enumerate(pictures) if "clean" not in path.stem.lower()), 0)
