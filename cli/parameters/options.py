"""Arguments and options that mean the same in every command, as decorators.

`card` hands the command one `card` dict of the fields that were given, `runtime` one `runtime` dict for sessions,
`output` one `Output`; `common` puts them together for commands over images. Commands pass them on without looking
inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..files.output import Output
from ..files.remote import is_uri, uri_of
from ..sources.source import Selection
from ..terminal.echo import say
from ..terminal.help import CARD, IMAGES, OUTPUT, RUN, Option
from ..terminal.words import as_options
from . import complete
from .inputs import some_images

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Common:
    """What commands over images share: `card` for `open_model`, `runtime` for sessions, what to say and to print.

    devices: those that images are shared among; none: one device works on all.
    """

    card: Mapping[str, Any]
    runtime: Mapping[str, Any]
    quiet: bool = False
    progress: bool = False
    as_json: bool = False
    devices: tuple[int, ...] = ()


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """Click's, with the `section` of the help that the option stands in."""
    return click.option(*names, cls=Option, **attributes)


def model(f: F) -> F:
    """MODEL"""
    return click.argument("model", metavar="MODEL", shell_complete=complete.models)(f)


def images(f: F) -> F:
    """IMAGES..., which may be left out for the built-in model."""
    return click.argument(
        "images", metavar="[IMAGES...]", nargs=-1, callback=some_images, shell_complete=complete.images
    )(f)


def selection(f: F) -> F:
    """-r, --every, --limit, --duration and --crop: the command gets one `Selection`, as `selection`."""

    @functools.wraps(f)
    def command(
        *args: Any,
        recursive: bool,
        every_image: int,
        limit: int | None,
        duration: float | None,
        crop: str | None,
        **others: Any,
    ) -> Any:
        part = None if crop is None else _crop(crop)
        return f(*args, selection=Selection(recursive, every_image, limit, duration, part), **others)

    text = "Only this region of each image is looked at; results are those of the whole image's pixels."
    stack: Any = option("--crop", metavar="X,Y,W,H", section=IMAGES, help=text)(command)
    text = "Seconds of each video or camera."
    kind = click.FloatRange(0, min_open=True)
    stack = option("--duration", type=kind, metavar="SECONDS", section=IMAGES, help=text)(stack)
    text = "At most so many images."
    stack = option("--limit", type=click.IntRange(min=1), section=IMAGES, help=text)(stack)
    text = "Only every N-th image, or frame of a video."
    stack = option("--every", "every_image", type=click.IntRange(min=1), default=1, section=IMAGES, help=text)(stack)
    text = "Folders with all that are in them."
    decorated: F = option("-r", "--recursive", is_flag=True, section=IMAGES, help=text)(stack)
    return decorated


def _crop(text: str) -> tuple[int, int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts) or "0" in parts[2:]:
        hint = "'--crop'"
        raise click.BadParameter(f"{text!r} is not X,Y,W,H: four whole numbers of pixels", param_hint=hint)
    x, y, width, height = map(int, parts)
    return x, y, width, height


def layers(f: F) -> F:
    text = "Layer, by its own name, that of its output value, or of its module (layer4.1); may be given several times."
    return option("--layer", "layers", metavar="NAME", multiple=True, help=text, shell_complete=complete.layers)(f)


def settings(f: F) -> F:
    """-O [METHOD:]NAME=VALUE, as `settings`."""
    text = "Option of a method, or of all that have it: steps=100. See `onnxray methods NAME`."
    about = {"metavar": "[METHOD:]NAME=VALUE", "help": text, "shell_complete": complete.settings}
    return option("-O", "--option", "settings", multiple=True, **about)(f)


def alpha(f: F) -> F:
    """--alpha, a share."""
    text = "Maximum opacity of the heat map in overlays."
    share = click.FloatRange(0, 1)
    return option("--alpha", type=share, default=0.6, show_default=True, metavar="SHARE", help=text)(f)


def feeds(f: F) -> F:
    """--with NAME=FILE|NUMBER, as `feeds`."""
    text = (
        "What a further input is fed: an .npy file, a number, zeros or ones; may be given several times. States of "
        "recurrent models are zeros where nothing is given."
    )
    return option("--with", "feeds", metavar="NAME=FILE|NUMBER", multiple=True, help=text)(f)


def as_json(f: F) -> F:
    return option("--json", "as_json", is_flag=True, section=OUTPUT, help="Print the result as JSON on stdout.")(f)


def quiet(f: F) -> F:
    """`quiet` and `progress`: what may be said on stderr."""
    text = "Draw the progress bar even if stderr is not a terminal."
    f = option("--progress", is_flag=True, section=RUN, help=text)(f)
    return option("-q", "--quiet", is_flag=True, section=RUN, help="Print errors only.")(f)


def replace(text: str) -> Callable[[F], F]:
    """--force."""
    return option("--force", is_flag=True, section=OUTPUT, help=text)


def out_file(**attributes: Any) -> Callable[[F], F]:
    """-o, --out of commands that write a model."""
    text = "The .onnx file to write."
    kind = click.Path(path_type=Path)
    return option(
        "-o", "--out", type=kind, metavar="FILE", section=OUTPUT, callback=no_setting, help=text, **attributes
    )


def no_setting(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The path of -o as it is. Raises click.BadParameter for NAME=VALUE, which belongs to -O."""
    name, equals, _ = str(value or "").partition("=")
    if equals and name.replace(":", "").replace("-", "").replace("_", "").isalnum() and value and not value.exists():
        raise click.BadParameter(f"{str(value)!r} looks like an option of a method: those follow -O")
    return value


def output(default: str | None, resume: bool = False) -> Callable[[F], F]:
    """--out, --force and, where runs can be continued, --resume; `output` is None if there is no folder to write."""

    def decorate(f: F) -> F:
        @functools.wraps(f)
        def command(*args: Any, out: Path | None, force: bool, resume: bool = False, **others: Any) -> Any:
            if out is None and (force or resume) and default is None:
                raise click.UsageError("--force and --resume are about the folder of --out: give it as well")
            if force and resume:
                raise click.UsageError("--force replaces a run and --resume continues it: give one of them")
            if out is not None and is_uri(str(out)) and getattr(others.get("scale"), "address", None) is None:
                raise click.UsageError(f"--out is a folder of this machine, and {uri_of(str(out))!r} is a URI")
            folder = out or (Path(default) if default else None)
            return f(*args, output=Output(folder, force, resume, default=out is None) if folder else None, **others)

        stack: Any = command
        if resume:
            text = "Continue an unfinished run in the folder; images that are done are skipped."
            stack = option("--resume", is_flag=True, section=OUTPUT, help=text)(stack)
        stack = replace("Replace another run in the folder.")(stack)
        where = f"Folder for the results; default: {default}." if default else "Also write the results to this folder."
        kind = click.Path(path_type=Path)
        decorated: F = option("-o", "--out", metavar="DIR", type=kind, section=OUTPUT, callback=no_setting, help=where)(
            stack
        )
        return decorated

    return decorate


# Option -> (metavar or choices, help). The names are those of a card's fields and of what is decided about the output.
_CARD: Mapping[str, tuple[str | list[str], str]] = {
    "card": ("FILE", "Model card (JSON) to use instead of the one found."),
    "size": ("HxW", "Size of the model's input plane in pixels; one number for a square."),
    "mean": ("R,G,B", "Subtracted from pixels (0..255); one number, or one per channel."),
    "std": ("R,G,B", "Pixels (0..255) are divided by it after the mean; one number, or one per channel."),
    "order": (
        "RGB|BGR|GRAY|BAND,...",
        "Channel order of the model's input; or bands of the picture, by number from 0 or by name, one per channel.",
    ),
    "bands": ("NAME,...", "Names of the picture's bands, in its order."),
    "display": ("BAND,BAND,BAND", "Bands that are shown as red, green and blue, or one that is shown in gray."),
    "bits": ("8..16", "Bits that the values of 16-bit pictures have."),
    "window": ("LOW,HIGH|none", "Values of 16-bit pictures that become black and white; none: mean and std fit them."),
    "layout": (["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"], "Axes of the model's image input."),
    "kind": (["image", "text", "table", "sound", "series", "volume"], "What the model's input takes."),
    "tokenizer": ("FILE", "What makes tokens of texts: tokenizer.json, vocab.txt, or a folder with one."),
    "decoder": ("FILE", "Decoder that belongs to the model, which is an encoder in a file of its own."),
    "sound": ("KEY=VALUE,...", "How a model hears: rate (Hz); frame, context and window in samples."),
    "volume": ("KEY=VALUE,...", "How a volume becomes the input: spacing (mm), normalise, order, patch."),
    "axes": ("NTF|NCT|NCDHW|...", "A letter for each axis of the input: N, C, T (time), F (features), D, H, W, 1."),
    "dtype": (
        ["float32", "float16", "float64", "uint8", "int8", "uint16", "int16"],
        "Type of the model's image input.",
    ),
    "resize": (["stretch", "crop", "letterbox"], "How an image is brought to the size."),
    "shortest-edge": ("PIXELS", "With crop: length of the shorter side before the crop."),
    "stretch-to": ("HxW", "With crop: size to stretch the image to before the crop."),
    "crop-fraction": ("SHARE", "With crop: share of the resized image that the crop keeps."),
    "rounding": (["nearest", "torchvision", "transformers"], "With crop: whose rounding of sizes and offsets is used."),
    "interpolation": (["nearest", "bilinear", "bicubic", "lanczos", "box", "area"], "Filter of the resize."),
    "antialias": (["yes", "no"], "Whether shrinking averages over all pixels."),
    "pad-value": ("0..255", "With letterbox: gray level of the border."),
    "align": (["center", "top-left"], "With letterbox: place of the image."),
    "labels": ("FILE", "Class names: a text file with one per line, or JSON."),
    "input": ("NAME", "The model's input that takes images."),
    "output": ("NAME", "Output or inner value that holds the model's answer."),
    "answer": (
        ["classes", "two", "labels", "number", "embedding", "map", "boxes", "state"],
        "What that output is: one of several classes, one of two, independent labels, a number, ...",
    ),
    "scores": (["logits", "probabilities", "log-probabilities"], "What that output's numbers are."),
    "decision-threshold": ("P", "Probability from which a label, or the second of two classes, is true."),
    "detector": (
        "KEY=VALUE,...",
        "Boxes of a detector: threshold, nms; boxes, scores, box_format, objectness, classes.",
    ),
}

_TYPES = {
    "decision-threshold": click.FloatRange(0, 1, min_open=True, max_open=True),
    "shortest-edge": click.IntRange(min=1),
    "bits": click.IntRange(8, 16),
    "crop-fraction": click.FloatRange(0.01, 1),
    "pad-value": click.IntRange(0, 255),
    "antialias": click.BOOL,
}


def card(f: F) -> F:
    """The fields of a model card, and the model's ends, as options; `card` holds those that were given."""

    @functools.wraps(f)
    def command(*args: Any, **given: Any) -> Any:
        fields = {name.replace("-", "_"): given.pop(f"card_{name.replace('-', '_')}") for name in _CARD}
        for name, parse in _PARSED.items():
            if fields[name] is not None:
                fields[name] = parse(name, fields[name])
        return f(*args, card={name: value for name, value in fields.items() if value is not None}, **given)

    stack: F = command  # type: ignore[assignment]
    for name, (kind, text) in reversed(list(_CARD.items())):
        choice = None if isinstance(kind, str) else click.Choice(kind, case_sensitive=False)
        metavar = kind if isinstance(kind, str) else "|".join(kind)
        kept = f"card_{name.replace('-', '_')}"
        of = _TYPES.get(name) or choice
        stack = option(f"--{name}", kept, type=of, metavar=metavar, section=CARD, help=text)(stack)
    return stack


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        said = f"{text!r} is not one number, or one per channel with commas"
        raise click.BadParameter(said, param_hint=f"'--{name}'") from None


def _window(name: str, text: str) -> list[float] | str:
    return text if text.strip().lower() == "none" else _numbers(name, text)


def _order(name: str, text: str) -> str | list[str | int]:
    """What `order` takes: colours, or bands."""
    if "," in text or text.strip().isdigit():
        return _bands(name, text)
    from ...engine.preprocess.card import to_order
    from ...engine.preprocess.fields import FieldRefused

    try:
        return to_order(text)
    except FieldRefused as error:
        said = f"{text!r} is not {error}, nor bands with commas, nor one band's number"
        raise click.BadParameter(said, param_hint=f"'--{name}'") from None


def _bands(name: str, text: str) -> list[str | int]:
    parts = [part.strip() for part in text.split(",")]
    return [int(part) if part.isascii() and part.isdigit() and len(part) < 6 else part for part in parts]


def _names(name: str, text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _size(name: str, text: str) -> int | tuple[int, int]:
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        hint = f"'--{name.replace('_', '-')}'"
        raise click.BadParameter(f"{text!r} is not a number of pixels or HEIGHTxWIDTH", param_hint=hint)
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else int(sides[0])


_PARSED: Mapping[str, Callable[[str, str], Any]] = {
    **dict.fromkeys(("mean", "std"), _numbers),
    **dict.fromkeys(("size", "stretch_to"), _size),
    "window": _window,
    "order": _order,
    "bands": _names,
    "display": _bands,
}


def runtime(f: F) -> F:
    """--provider and --threads; `runtime` holds the keyword arguments of a session."""

    @functools.wraps(f)
    def command(*args: Any, provider: str | None, threads: int | None, **others: Any) -> Any:
        providers = None if provider is None else _provider(provider)
        return f(*args, runtime={"providers": providers, "threads": threads}, **others)

    text = "Threads of one operator; default: one per CPU."
    stack = option("--threads", type=click.IntRange(min=1), metavar="N", section=RUN, help=text)(command)
    text = (
        "Execution provider of ONNX Runtime: cpu, cuda, ...; default: the best one that works here. Provider options "
        "follow a colon: cuda:use_tf32=0,device_id=1."
    )
    return option("--provider", metavar="NAME[:OPTION=VALUE,...]", section=RUN, help=text)(stack)  # type: ignore[return-value]


def half(f: F) -> F:
    """--half, for commands with `card` and `quiet`: it goes to `open_model` with the card."""

    @functools.wraps(f)
    def command(*args: Any, card_half: bool, card: dict[str, Any], **others: Any) -> Any:
        # Each explanation of `explain` has the warning, which sinks do not take; `compile` runs nothing.
        warned = click.get_current_context().info_name == "explain" and not others.get("to")
        if card_half and not others["quiet"] and "runtime" in others and not warned:
            _say_slow(others["runtime"])
        return f(*args, card={**card, "half": True} if card_half else card, **others)

    text = "Compute in float16 what float16 can hold; inputs, outputs and gradients stay float32. Slow on the CPU."
    return option("--half", "card_half", is_flag=True, section=RUN, help=text)(command)  # type: ignore[return-value]


def devices(f: F) -> F:
    """--devices, of commands that share images among devices, for `common`."""
    text = "Devices of the provider that images are shared among, by number from 0; each takes the next one when free."
    return option("--devices", metavar="N,N,...", section=RUN, callback=_devices, help=text)(f)


def _devices(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    parts = [] if value is None else [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts) or len(set(parts)) < len(parts):
        raise click.BadParameter(f"{value!r} are no devices: give different numbers with commas, as in 0,1")
    return tuple(int(part) for part in parts)


def _say_slow(runtime: Mapping[str, Any]) -> None:
    from ...engine.inference.half_notices import SLOW_HALF
    from ...engine.runtime.providers import resolve_providers

    if resolve_providers(runtime["providers"]) == ("CPUExecutionProvider",):
        say(f"warning: {as_options(SLOW_HALF)}")


def _provider(text: str) -> str | list[tuple[str, dict[str, str]]]:
    """What follows --provider, as a session takes it."""
    name, colon, rest = text.partition(":")
    if not colon:
        return text
    parts = rest.split(",")
    found = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in parts)}
    if not name or len(found) < len(parts) or not all(key and value for key, value in found.items()):
        said = f"{text!r} is not NAME, or NAME:OPTION=VALUE,OPTION=VALUE with every option once"
        raise click.BadParameter(said, param_hint="'--provider'")
    return [(name, found)]


def common(folder: str | None, *, resume: bool = False, json: bool = True) -> Callable[[F], F]:
    """The options that commands over images share; the command gets `output`, see there, and one `Common`.

    With `json`, --json as well. `folder` is the default of --out.
    """

    def decorate(f: F) -> F:
        @functools.wraps(f)
        def command(
            *args: Any, card: dict[str, Any], runtime: dict[str, Any], quiet: bool, progress: bool, **others: Any
        ) -> Any:
            shared = Common(card, runtime, quiet, progress, others.pop("as_json", False), others.pop("devices", ()))
            return f(*args, common=shared, **others)

        stack: Any = output(folder, resume)(card(runtime(half(quiet(command)))))
        decorated: F = as_json(stack) if json else stack
        return decorated

    return decorate
