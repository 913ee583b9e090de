"""`onnxray explain`: which parts of images a model's answer depends on, by any number of methods."""

from __future__ import annotations

import math
from typing import Any

import click
from click.core import ParameterSource

from ..parameters import complete, line, options
from ..parameters.inputs import finish_run
from ..parameters.methods import BOXES, DEFAULT, listing
from ..parameters.scale import Scale, scale
from ..parameters.tables import NO_TABLE, tables
from ..parameters.texts import check_texts, texts
from ..terminal.echo import echo, echo_json, say
from ..terminal.help import Command
from .finishing import finish_on

FORMATS = ("npy", "heatmap", "overlay", "classes", "sheet")
PICTURES = ("png", "jpeg", "webp")


def _formats(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from ...engine.errors import nearest

    chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
    known = (*FORMATS, *PICTURES)
    for part in chosen:
        if part not in known:
            close = nearest(part, known, 1)
            hint = f" (nearest: {close[0]!r})" if close else ""
            raise click.BadParameter(f"{part!r} is not one of {', '.join(known)}{hint}")
    if not chosen:
        raise click.BadParameter(f"name at least one of {', '.join(known)}")
    if len(set(chosen) & set(PICTURES)) > 1:
        raise click.BadParameter(f"pictures are written in one format: one of {', '.join(PICTURES)}")
    return chosen if set(chosen) & set(FORMATS) else (*FORMATS, *chosen)


def _range(context: click.Context, parameter: click.Parameter, value: str) -> str | tuple[float, float]:
    if value.strip().lower() in ("each", "shared"):
        return value.strip().lower()
    try:
        low, high = (float(part) for part in value.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise click.BadParameter(f"{value!r} is neither each, shared nor LOW,HIGH with LOW less than HIGH")
    return low, high


def _frames(context: click.Context, parameter: click.Parameter, value: str) -> str | int:
    text = value.strip().lower()
    if text in ("strongest", "all"):
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise click.BadParameter(f"{value!r} is none of strongest, all and the number of a frame, from 0")
    return int(text)


def _list_methods(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        echo(listing())
        context.exit()


@click.command("explain", cls=Command, example="explain builtin -m grad-cam,lrp -t top:2 -o maps")
@options.model
@options.images
@options.option(
    "-m",
    "--method",
    "methods",
    metavar="NAME,...",
    multiple=True,
    default=(),
    help="Methods, separated by commas or given several times; `all`: every one that fits the model. "
    f"Default: {DEFAULT}, of boxes {BOXES}, of texts integrated-gradients.",
    shell_complete=complete.methods,
)
@options.option(
    "-t",
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    default=("predicted",),
    help="What is explained; may be given several times: `predicted` (the default), a class by number or label, "
    "`top:3`, `contrast:A,B`, `prob:CLASS`, `unit:LAYER:CHANNEL[,Y,X]`, `region:CLASS[:Y0,X0,Y1,X1]`, "
    "`element:VALUE:I,J,...`, `value`, `like:FILE`, `box:LABEL:K` of a detector (whose default is "
    "`box:top:3`); see docs/targets.md.",
    shell_complete=complete.targets,
)
@options.layers
@options.option(
    "--at",
    metavar="VALUE",
    help="Explain by a value inside the model in place of its input, such as the embeddings of token ids.",
    shell_complete=complete.layers,
)
@options.feeds
@options.settings
@options.option(
    "--format",
    "formats",
    metavar=",".join(FORMATS),
    default=",".join(FORMATS),
    callback=_formats,
    help="What is written for each image; default: everything. With jpeg or webp, overlays and sheets are written so, "
    "smaller than PNG: overlay,jpeg; maps in colours and masks stay PNG.",
)
@options.alpha
@options.option(
    "--colormap",
    metavar="NAME",
    help="Colour map of the maps; default: the method's own.",
    shell_complete=complete.colormaps,
)
@options.option(
    "--range",
    metavar="each|shared|LOW,HIGH",
    default="each",
    show_default=True,
    callback=_range,
    help="Values at the ends of the colours: of each map its own; shared by all images of a run, so that a clean part "
    "looks clean next to a broken one (images are looked at twice); or two numbers.",
)
@options.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Also write the regions of values of at least this share of the maximum: a mask, each region's outline, "
    "box (y0, x0, y1, x1) and peak, strongest first, as a picture and as JSON.",
)
@options.option(
    "--side",
    type=click.Choice(["positive", "negative", "both"]),
    show_default="positive",
    help="With --threshold: regions that speak for the target, against it, or both by magnitude.",
)
@options.option(
    "--trust",
    is_flag=True,
    help="Also check each map: random weights, deletion, completeness, a second method, a shift by one pixel; the "
    "verdict is a traffic light in words.",
)
@options.option(
    "--against",
    metavar="MODEL",
    help="Another version of the model, such as a quantised one: answers, maps and layers are compared; implies "
    "--trust.",
    shell_complete=complete.models,
)
@options.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Maximum batch size, perturbed copies included; default: chosen by the size of the input.",
)
@options.option(
    "--list-methods",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods with their options, and exit; see also `onnxray methods`.",
)
@options.option(
    "--frames",
    metavar="strongest|all|N",
    default="strongest",
    show_default=True,
    callback=_frames,
    help="Of sounds that a model hears in frames: the one of the greatest score, all, or one by its number from 0.",
)
@line.inspection
@line.drift
@line.sinks
@line.metrics
@texts
@tables
@options.selection
@scale
@options.devices
@options.common("onnxray-explain", resume=True)
def command(common: options.Common, scale: Scale, **asked: Any) -> None:
    """Show which parts of an image, or of any other input, a model's answer depends on.

    For each image, method and target: the map as a float32 .npy file, signed and not normalised; the map in colours;
    its overlay on the image. Per image, a sheet with all of them, each with its colour scale. With --threshold also
    the hottest regions. Occlusion also draws the predicted class with each part of the image hidden. With --trust also
    what quick checks say of the map, in the sheet, as text and in the manifest.

    With --to, each image gives a record, as those of `onnxray watch`, to each sink, and no folder is written: a video
    becomes an overlay video and lines of JSON by `--to mp4:out.mp4 --to jsonl:out.jsonl`.

    Models that take no images are given .npy files (one sample or a batch) or .npz files whose arrays are named after
    the inputs; their maps are drawn as bars, lines, tables or slices. Models of texts are given --text, .txt files, or
    a table with --column: the words are coloured, and words.csv says which words move the model most. Models of sound
    are given .wav, .flac or .ogg files: what they hear is drawn in time and frequency, and can be listened to. Models
    of volumes are given .nii.gz files or folders of DICOM slices: the heat is also written as a volume (.nii.gz).

    Of the rows of a table (.csv, .tsv), each gets exact Shapley values of its columns, and all together a picture of
    what each column adds. For a model of series, rows are times: each feature is drawn as a line with its heat.
    """
    from ..tasks.explain import ExplainOptions, explain
    from ..tasks.explain_arrays import explain_arrays, takes_arrays
    from ..tasks.explain_series import explain_series, takes_series_files
    from ..tasks.explain_sounds import explain_sounds, takes_sounds
    from ..tasks.explain_tables import explain_tables, takes_tables
    from ..tasks.explain_texts import Pages, explain_texts
    from ..tasks.explain_volumes import explain_volumes, takes_volumes
    from ..tasks.text_items import takes_texts

    if asked["side"] and asked["threshold"] is None:
        raise click.UsageError("--side is about the regions of --threshold: give it as well")
    asked["side"] = asked["side"] or "positive"
    asked["trust"] = asked["trust"] or asked["against"] is not None
    to, drift, metrics, inspection = *(asked.pop(name) for name in ("to", "drift", "metrics")), asked["inspection"]
    for name, given in (("--reference", drift.reference), ("--prometheus", metrics)):
        if given is not None and not to:
            raise click.UsageError(f"{name} is about runs with --to: give it as well")
    wanted = ExplainOptions(common=common, share=scale.share, **asked)
    of_sounds = takes_sounds(wanted)
    of_volumes = not of_sounds and takes_volumes(wanted)
    of_texts = not (of_sounds or of_volumes) and takes_texts(wanted)
    check_texts(of_texts, bool(wanted.images))
    in_parts = not scale.share.whole or scale.address is not None
    if in_parts and (of_sounds or of_texts or takes_tables(wanted)):
        raise click.UsageError("--shard and --on are about images, and others are given: leave them out")
    if common.devices and (of_sounds or of_volumes or of_texts or takes_tables(wanted) or takes_arrays(wanted)):
        raise click.UsageError("--devices shares images among devices, and others are given: leave it out")
    if common.devices and scale.address is not None:
        raise click.UsageError("--devices is about this machine: with --on, give --gpus of each actor")
    if wanted.frames != "strongest" and not of_sounds:
        raise click.UsageError("--frames is about sounds, and none is given: leave it out")
    is_line = bool(to) or inspection != line.NO_INSPECTION
    if {"jpeg", "webp"} & set(wanted.formats) and (
        of_sounds or of_volumes or of_texts or takes_arrays(wanted) or takes_tables(wanted)
    ):
        raise click.UsageError(
            "--format jpeg and webp are about overlays on images, and this input is none: leave it out"
        )
    if of_sounds or of_volumes:
        if wanted.trust or is_line or not scale.share.whole:
            what = "sounds" if of_sounds else "volumes"
            raise click.UsageError(f"--trust, --when, --part, --to and --shard are about images, and {what} are given")
        if wanted.table != NO_TABLE:
            raise click.UsageError(
                "--rows, --columns and --background are about tables (.csv, .tsv), and none is given"
            )
        _check_pictures("sounds" if of_sounds else "volumes")
        from ..pages import sounds, volumes

        run = explain_sounds(wanted, sounds.page) if of_sounds else explain_volumes(wanted, volumes.page)
        finish_run(run, common.as_json)
        return
    if wanted.trust and (wanted.at or wanted.feeds or of_texts or takes_arrays(wanted)):
        raise click.UsageError("--trust is about maps of images: it goes with no --at, no --with and no arrays")
    if is_line and (of_texts or takes_arrays(wanted)):
        raise click.UsageError("--when, --part, --mm-per-pixel and --to are about images, and this model takes none")
    of_tables = not of_texts and takes_tables(wanted)
    of_series = not of_texts and not of_tables and takes_series_files(wanted)
    if wanted.table != NO_TABLE and not of_tables and not of_series:
        raise click.UsageError("--rows, --columns and --background are about tables (.csv, .tsv), and none is given")
    if of_tables or of_series:
        if wanted.trust or is_line:
            raise click.UsageError("--trust, --when, --part and --to are about images, and a table is given")
        _check_pictures("tables" if of_tables else "series")
        finish_run(explain_tables(wanted) if of_tables else explain_series(wanted), common.as_json)
        return
    if of_texts:
        from ..pages.texts import drawn, page, parts_of

        finish_run(explain_texts(wanted, Pages(page, drawn, parts_of)), common.as_json)
        return
    if to:
        _to_sinks({"common": common, "to": to, "drift": drift, "metrics": metrics}, asked)
        return
    if scale.address is not None:
        if takes_arrays(wanted) or wanted.range == "shared":
            raise click.UsageError("--on is about images whose colours are not shared: leave it out")
        finish_on("explain", wanted, scale)
        return
    finish_run(explain_arrays(wanted) if takes_arrays(wanted) else explain(wanted), common.as_json)


# Parameters that only maps over images read; the figures of other inputs have colours and ranges of their own.
_OF_PICTURES = ("alpha", "colormap", "range", "threshold", "side")


def _check_pictures(what: str) -> None:
    """Raises click.UsageError for options that have no effect on `what`: tables, series, sounds or volumes."""
    ignored = (*_OF_PICTURES, "layers") if what == "tables" else _OF_PICTURES
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE
        if given and parameter.name in ignored:
            raise click.UsageError(f"{parameter.opts[-1]} is about maps of images, and {what} are given: leave it out")


# Parameters that are about the folder, or that sinks have no use for.
_OF_THE_FOLDER = (
    "out",
    "force",
    "resume",
    "formats",
    "alpha",
    "colormap",
    "range",
    "side",
    "batch",
    "at",
    "feeds",
    "trust",
    "against",
    "shard",
    "max_failures",
    "on",
)


def _to_sinks(own: dict[str, Any], asked: dict[str, Any]) -> None:
    """Explain into sinks. Raises click.UsageError for options that would have no effect."""
    from ..tasks.to_sinks import SinkOptions, explain_to

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in _OF_THE_FOLDER and source == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} has no meaning with --to: leave one of them out")
    common: options.Common = own["common"]
    if common.as_json and "-" in own["to"]:
        raise click.UsageError("--json and --to - both write to stdout: leave one of them out")
    kept = ("model", "images", "methods", "targets", "layers", "settings", "inspection", "selection")
    threshold = asked["threshold"] or 0.5
    given = {name: asked[name] for name in kept}
    told = explain_to(SinkOptions(**own, threshold=threshold, **given))
    if common.as_json:
        echo_json(told.to_mapping())
    if told.failed:
        say(f"{told.failed} of {told.done + told.failed} images failed")
    context.exit(line.ALARMED if told.alarmed else 1 if told.failed else 0)
