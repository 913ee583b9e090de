"""`onnxray dream`: DeepDream of photographs and of noise."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import finish_run
from ..terminal.help import Command

_ZOOM = "Endless zoom"


@click.command("dream", cls=Command, example="dream builtin samples/04-crack-concrete.png --layer stage3/relu2")
@options.model
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True, shell_complete=complete.images)
@options.layers
@options.option("--channel", type=click.IntRange(min=0), metavar="C", help="Only this channel of each layer.")
@options.option(
    "--class", "classes", metavar="CLASS", multiple=True, help="A class, by index or label; several make a grid."
)
@options.option(
    "--objective", "objectives", metavar="TEXT", multiple=True, help="Objective; see `onnxray visualize --list`."
)
@options.option(
    "--guide",
    type=click.Path(),
    metavar="IMAGE",
    help="Second image; the layer's features become like those of this image.",
)
@options.option("--together", is_flag=True, help="One picture for all layers and classes instead of one for each.")
@options.option(
    "--weight",
    "weights",
    type=float,
    metavar="W",
    multiple=True,
    help="With --together: weight of each layer, class and objective, in this order.",
)
@options.option(
    "--octaves",
    type=click.IntRange(min=1),
    metavar="N",
    help="Sizes the picture is dreamed at, from small to large; default: up to 4.",
)
@options.option("--ratio", type=float, default=1.4, show_default=True, help="Ratio of one octave's side to the next.")
@options.option("--steps", type=click.IntRange(min=0), default=10, show_default=True, help="Steps per octave.")
@options.option(
    "--rate",
    type=float,
    default=0.0045,
    show_default=True,
    help="Mean change of a pixel per step, on a scale of 0 to 1.",
)
@options.option(
    "--jitter",
    type=click.IntRange(min=0),
    default=16,
    show_default=True,
    metavar="PIXELS",
    help="Largest random shift before each step.",
)
@options.option(
    "--blur",
    "blurs",
    type=float,
    multiple=True,
    metavar="PIXELS",
    help="The gradient is the sum of Gaussian blurs of these; default: 0.8, 1.6 and 3.2; 0 for none.",
)
@options.option("--rainbow", is_flag=True, help="Leave out the covariance of photographs' colours.")
@options.option(
    "--tile",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    metavar="PIXELS",
    help="Side of the tiles that larger pictures are computed in.",
)
@options.option(
    "--overlap",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    metavar="PIXELS",
    help="Border of a tile that only gives context.",
)
@options.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
@options.option("--zoom", type=click.IntRange(min=1), metavar="FRAMES", section=_ZOOM, help="Frames after the first.")
@options.option(
    "--zoom-factor", type=float, default=1.04, show_default=True, section=_ZOOM, help="Magnification per frame."
)
@options.option(
    "--zoom-turn", type=float, default=0.5, show_default=True, section=_ZOOM, help="Rotation per frame in degrees."
)
@options.option(
    "--zoom-octaves",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    section=_ZOOM,
    help="Octaves of every further frame.",
)
@options.option(
    "--zoom-steps",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    section=_ZOOM,
    help="Steps per octave of every further frame.",
)
@options.option(
    "--fps", type=click.FloatRange(1, 120), default=12, show_default=True, section=_ZOOM, help="Frame rate."
)
@options.common("onnxray-dream", resume=True)
def command(common: options.Common, images: tuple[str, ...], **asked: Any) -> None:
    """Dream of images: exaggerate what a network sees in them (DeepDream).

    IMAGES are files, folders, samples, or `noise`. Each image is dreamed once for each layer, class and objective; the
    sheet shows them as a grid, with the images in rows. --size is the size of the picture; default: the image's own,
    for noise the model's. Large pictures are computed in tiles, in bounded memory. --zoom writes the frames of an
    endless zoom and a film.
    """
    from ..tasks.dream import DreamOptions, dream

    finish_run(dream(DreamOptions(common=common, images=images, **asked)), common.as_json)
