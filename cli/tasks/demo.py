"""Everything onnxray shows of a model and images, section by section, as one page."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.manifest import MANIFEST
from ..files.output import Output
from ..parameters.inputs import BUILTIN, SAMPLES, card_of, find_images, open_model
from .over_images import Outcome, Pixels, over_images
from .subject import LayerValues, Photos, Subject

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card
    from ..figures.parts import Section
    from ..files.run import Run
    from ..parameters.options import Common
    from .microscope import Pages

# Of the small site: depths of its layers, units of each, steps and side of pictures.
_DEPTHS, _UNITS, _STEPS, _SIDE = (0.3, 0.65, 1.0), "0-3", 8, 64

# What else there is to explain: said at the end.
OTHER_INPUTS = (
    "besides images, `onnxray explain` takes tables and series (.csv), sounds (.wav), scans (.dcm) and texts (--text)"
)
# The tasks that have a section, in the order of the report.
SECTIONS = ("predict", "comparison", "trust", "activations", "filters", "look_for", "dream", "inspect")


@dataclass(frozen=True)
class DemoOptions:
    """What `onnxray demo` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    output: Output
    common: Common


def demo(
    options: DemoOptions, document: Callable[[str, str, Subject, Sequence[Section]], str], write_pages: Pages
) -> Run:
    """Write the report and its pictures; the run, at its end.

    document: makes the page of a title, a lead, the subject and the sections; write_pages: those of a site. Raises
    ModelError, CardError, and ImageError when no image can be read.
    """
    from ...engine.errors import ImageError
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress

    common = options.common
    output = _reused(options.output)
    model = open_model(options.model, common.card)
    card = card_of(model, common.quiet)
    paths = find_images(options.images or (SAMPLES,))
    about = {"model": describe(model), "card": describe_card(card)}
    with Run(output, "demo", common.runtime, about, paths) as run:
        focused = _read(run, paths, common, card)
        if focused is None:
            raise ImageError("none of the images can be read")
        with Progress(len(SECTIONS), "sections", quiet=common.quiet, bar=common.progress) as bar:
            images = Photos(
                [(Path(e["path"]), e["sha256"]) for e in run.entries if e["status"] == "done"], bar.say, card
            )
            subject = Subject(model, card, images, focused, LayerValues(model, card, common.runtime))
            parts = []
            for section in sections(subject):
                parts.append(section)
                _write_pictures(run, section)
                bar.step(section.title)
            bar.say(OTHER_INPUTS)
        small = " A small site over its layers is in the folder site, next to this page."
        lead = _lead(subject) + (small if _write_site(run, options, model, write_pages) else "")
        page = document(_title(options.model), lead, subject, parts)
        run.manifest["files"].append(run.text("index.html", page))
    return run


def _write_site(run: Run, options: DemoOptions, model: Model, write_pages: Pages) -> bool:
    """A small site over a few units of three layers, in a folder of the run; whether the model has units to show."""
    from ...engine.errors import TargetError
    from ...engine.inspect.own_units import own_units
    from .microscope import MicroscopeOptions, microscope

    names = [entry.name for entry in own_units(model)]
    chosen = list(dict.fromkeys(names[round(share * (len(names) - 1))] for share in _DEPTHS)) if names else []
    asked = MicroscopeOptions(
        model=model,
        images=(),
        output=Output(run.folder / "site", force=True),
        common=replace(options.common, quiet=True),
        layers=chosen,
        units=_UNITS,
        steps=_STEPS,
        side=_SIDE,
        diverse=False,
        coarse=False,
        name=_title(options.model),
    )
    try:
        made = microscope(asked, write_pages)
    except TargetError:
        return False
    run.manifest["files"] += [f"site/{name}" for name in (*made.manifest["files"], MANIFEST)]
    return True


def sections(subject: Subject) -> Iterator[Section]:
    """The sections of all tasks, one after the other."""
    for name in SECTIONS:
        yield importlib.import_module(f".{name}", __package__).section(subject)


def _reused(output: Output) -> Output:
    """The default folder is replaced if an earlier demo made it."""
    from ..files.run import made_by

    return replace(output, force=True) if output.default and made_by(output.folder) == "demo" else output


def _read(run: Run, paths: Sequence[Path], common: Common, card: Card) -> tuple[Path, Pixels] | None:
    """Look at every image, which gets its entry; the one to look at closely, None where none can be read.

    That is the first whose name does not call it clean: there is more to see.
    """
    from ..terminal.progress import Progress

    focused: tuple[Path, Pixels] | None = None

    def keep(path: Path, pixels: Pixels, folder: str) -> Outcome:
        nonlocal focused
        if focused is None or (_clean(focused[0]) and not _clean(path)):
            focused = (path, pixels)
        return {"size": list(pixels.shape[:2])}, ()

    over_images(run, Progress(0, quiet=common.quiet), paths, keep, card=card)
    return focused


def _clean(path: Path) -> bool:
    return "clean" in path.stem.lower()


def _write_pictures(run: Run, section: Section) -> None:
    for picture in section.pictures:
        name = run.name(f"{picture.name}.png", "pictures")
        run.manifest["files"].append(run.data(name, picture.png))


def _title(model: str) -> str:
    return "onnxray demo" if model == BUILTIN else f"onnxray: {Path(model).name}"


def _lead(subject: Subject) -> str:
    count = len(subject.images)
    return (
        f"What the model answers for {count} image{'s' * (count > 1)}, what happens in its layers on the way, and what "
        f"it has learned to look for. The image looked at closely: {subject.focused[0].name}."
    )
