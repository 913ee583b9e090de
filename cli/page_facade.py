"""What of the public Python interface writes pages: sites and reports, the same as the command line does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.graph.model import Source
from ..engine.inspect.layers import Layer, layer_names
from ..engine.runtime.providers import Providers


def microscope(
    model: Source,
    images: Any = (),
    out: str | os.PathLike[str] = "onnxray-microscope",
    *,
    layers: str | Layer | Sequence[str | Layer] | None = None,
    units: str = "",
    steps: int = 48,
    picture_size: int = 96,
    seed: int = 0,
    diverse: bool = True,
    time: float | None = None,
    shard: tuple[int, int] = (1, 1),
    live: str | os.PathLike[str] | None = None,
    examples: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    providers: Providers = None,
    threads: int | None = None,
    **card: Any,
) -> Path:
    """Make a site over every layer and unit of `model`, to be opened from disk; the path of its first page.

    images: the path of a folder, of an image file, a glob pattern, or several in a list: what excites the units most
        among them; "builtin" has its samples. out: folder of the site. layers: by default all that have units of their
        own. units: a text such as "0-15,20", of every layer; "" for all.
    steps, picture_size, seed: of the optimised pictures, `picture_size` in pixels if the network accepts it. diverse:
        several different pictures of each unit, too.
    time: seconds after which no more pictures are made; `resume` goes on with a site that is not finished, `force`
        replaces another one. shard: (I, N), make the I-th of N parts, which `onnxray merge` joins. live: folder
        of the npm package onnxruntime-web, for a page that runs the model in the browser. examples: a folder that
        `onnxray.top` or `onnxray top` wrote, whose strongest images are shown; `images` then says where they lie, if
        they have been moved.
    providers, threads: where and how the model runs. card: fields of the model card, as `load` takes them.

    Raises UnknownName, TargetError (units), ModelError, CardError, OutputError (a folder that holds something else, a
    full disk), ImageError (no image, none that can be read).
    """
    from .files.output import Output
    from .pages.live import prepare_live
    from .pages.microscope import write_pages
    from .parameters.options import Common
    from .tasks.microscope import MicroscopeOptions
    from .tasks.microscope import microscope as make

    asked = MicroscopeOptions(
        model=model,
        images=_paths(images),
        output=Output(Path(out), force, resume),
        common=Common(card, {"providers": providers, "threads": threads}, quiet=True),
        layers=layer_names(layers),
        units=units,
        steps=steps,
        side=picture_size,
        seed=seed,
        diverse=diverse,
        time=time,
        shard=shard,
        live=None if live is None else Path(live),
        examples=None if examples is None else Path(examples),
    )
    return make(asked, write_pages, prepare_live).folder / "index.html"


def report(
    model: Source,
    image: Any,
    out: str | os.PathLike[str] = "onnxray-report.html",
    *,
    examples: str | os.PathLike[str] | None = None,
    layer: str | Layer | None = None,
    force: bool = False,
    providers: Providers = None,
    threads: int | None = None,
    **card: Any,
) -> Path:
    """Write a report about one image, one HTML file with everything in it; its path.

    image: the path of an image file, a Pillow image or uint8 (H, W, 3) RGB. out: the file, which `force` replaces.
    examples: a folder that `onnxray.microscope` or `onnxray top` wrote, for what else excites the strongest units.
    layer: whose strongest units are shown, by default the last feature map. providers, threads: where and how the model
    runs. card: fields of the model card, as `load` takes them.

    Raises ImageError, ModelError, CardError, UnknownName (layer), OutputError (a file that exists, a full disk, a
    folder without examples).
    """
    from .pages.report import document
    from .parameters.options import Common
    from .tasks.report import ReportOptions
    from .tasks.report import report as make

    names = layer_names(layer)
    asked = ReportOptions(
        model=model,
        image=_image(image),
        out=Path(out),
        force=force,
        examples=None if examples is None else Path(examples),
        layer=names[0] if names else None,
        common=Common(card, {"providers": providers, "threads": threads}, quiet=True),
    )
    return make(asked, document)


def export(
    model: Source,
    images: Any = (),
    out: str | os.PathLike[str] = "onnxray-model-explorer",
    *,
    to: str = "model-explorer",
    data: str | Sequence[str] = (),
    target: str | None = None,
    force: bool = False,
    providers: Providers = None,
    threads: int | None = None,
    **card: Any,
) -> list[Path]:
    """Write numbers of every node for another program's view of the graph; the paths of the files, one a number.

    images: the path of a folder, of an image file, a glob pattern, or several in a list: relevance and time are
        measured on the first, health on all. Without any, time is measured on zeros, and there is no relevance and no
        health.
    to: "model-explorer", Google's. data: among "cost", "time", "relevance", "health"; by default all that can be had.
        target: what relevance is relevant to, a text as `explain` takes it; by default the predicted class.
    out: folder of the files, which `force` replaces.
    providers, threads: where and how the model runs. card: fields of the model card, as `load` takes them.

    Raises UnknownName (program, data, target), MethodError (what is asked for needs images), ImageError, GradientError,
    ModelError, CardError, OutputError (files that exist).
    """
    from ..engine.errors import UnknownName
    from .parameters.options import Common
    from .tasks.export import PROGRAMS, ExportOptions
    from .tasks.export import export as make

    if to not in PROGRAMS:
        raise UnknownName("program", to, PROGRAMS, f"known are {', '.join(PROGRAMS)}")
    asked = ExportOptions(
        model=model,
        images=_paths(images),
        data=(data,) if isinstance(data, str) else tuple(data),
        target=target,
        out=Path(out),
        force=force,
        common=Common(card, {"providers": providers, "threads": threads}, quiet=True),
    )
    return make(asked)


def _paths(images: Any) -> tuple[str, ...]:
    return (os.fspath(images),) if isinstance(images, str | os.PathLike) else tuple(os.fspath(path) for path in images)


def _image(image: Any) -> Any:
    """A path, or pixels; of a Pillow image its pixels."""
    if isinstance(image, str | os.PathLike):
        return Path(image)
    return np.asarray(image.convert("RGB")) if hasattr(image, "convert") else np.asarray(image)
