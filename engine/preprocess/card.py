"""A model card: how an image becomes the input tensor of a model, and what its classes are called.

A card is data. It can be written by hand as JSON next to a model, read from other tools' files (`find.py`), and goes
into every manifest. Whatever it holds is checked here, once, whoever wrote it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ...kernels.resize import FILTERS, Filter
from ..errors import CardError, nearest
from ..inspect.answer import KINDS, SCORES
from ..inspect.said_input import CARD_KINDS
from .fields import (
    DTYPES,
    FieldRefused,
    choice_of,
    shown,
    to_axes,
    to_bands,
    to_bits,
    to_detector,
    to_edge,
    to_entries,
    to_flag,
    to_fraction,
    to_names,
    to_numbers,
    to_pixel,
    to_probability,
    to_size,
    to_sound,
    to_text,
    to_texts,
    to_tokenizer,
    to_volume,
    to_window,
)
from .labels import read_labels

Order = Literal["RGB", "BGR", "GRAY"]
Layout = Literal["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"]
Resize = Literal["stretch", "crop", "letterbox"]
Rounding = Literal["nearest", "torchvision", "transformers"]
Align = Literal["center", "top-left"]


@dataclass(frozen=True)
class Card:
    """Preprocessing and labels of one model. Values are checked and completed on construction.

    Attributes:
        input: name of the model's input; None: the one that takes images.
        kind: what that input takes, one of "image", "text", "table", "sound", "series", "volume". axes: a letter for
            each of its axes: N samples, C channels, T time, F features, D depth, H height, W width, 1 one element.
            They override what is found by structure. tokenizer: of a model of texts, the path of its tokenizer.json or
            vocab.txt, or {"kind": "bytes", "characters" or "words", "vocab": file or list, "lower": bool, "start",
            "unknown", "pad", "begin": ids or pieces, "length": tokens} (docs/text.md). decoder: path
            of the decoder, where the model is an encoder in a file of its own. sound: of a model of sound, {"rate":
            samples per second, "frame": samples of a step, "context": samples of the step before in front of them,
            "window": samples of a window of the time-frequency plane; of spectrograms "hop", "mel", "low", "high"}
            (docs/sound.md). volume: of a model of volumes,
            {"spacing": mm, "normalise": "z-score", "order": "zyx" or "xyz", "patch": first voxel} (docs/medicine.md).
        size: (height, width) of the model's input plane in pixels. An int and "HxW" are accepted as well.
        mean, std: the tensor holds (pixel - mean) / std, on 0..255 pixels, one number per channel in the channel order
            of the card, or one for all.
        order: channels as the model wants them; GRAY is luminance (ITU-R BT.601, as Pillow's mode "L"). Or the bands of
            a picture with any number of them, by number from 0 or by name, one for each channel of the model.
        bands: names of a picture's bands, in its order. display: the bands that pictures show as red, green and blue,
            or the one that they show in gray; None: the first three, or the first.
        bits: depth of pictures with 16 bits a channel, 8 to 16. window: (low, high), the values of such pictures that
            become 0 and 255; "none": values are taken as they are, mean and std count in their units.
        layout: of the input; a missing N or C is an axis that the model does not have.
        resize: "stretch" to the size; "crop": the image is scaled to cover the crop and its centre is cut out;
            "letterbox": it is scaled to fit inside, and padded.
        shortest_edge: with "crop", the length of the image's shorter side before the crop.
        stretch_to: with "crop", (height, width) to stretch the image to before the crop.
        crop_fraction: with "crop" and neither of the above, the size is this part of the scaled image (0.875: 224
            pixels of 256).
        rounding: of sizes and offsets with "crop". "nearest": the longer side to the nearest pixel, the offset down
            (ONNX Model Zoo); "torchvision": the longer side down, the offset to nearest; "transformers": both down.
        interpolation: filter of the resampling; antialias: whether it is stretched when an image becomes smaller.
        pad_value: pixel value 0..255 around the image; align: where a letterboxed image lies.
        dtype: of the tensor.
        labels: names of the classes, or None. output: the model's output, or value, that answers. answer: what it is,
            one of "classes", "two", "labels", "number", "embedding", "map", "boxes", "state". scores: what it holds,
            "logits", "probabilities" or "log-probabilities". decision_threshold: the probability from which a label,
            or the second of two classes, is true. detector: of a model that finds boxes, what its rules find out by
            themselves: {"boxes": value, "scores": value, "box_format": "xyxy", "objectness": bool, "classes": count,
            "background": class, "anchors": {stride: [[height, width], ...]}}, and "threshold" and "nms", from which
            probability boxes are shown and from which overlap the less certain one is left out.
        source: where each field came from. warnings: what may be wrong with that.
        about: descriptive entries that are not interpreted (title, licence, origin, ...).

    Raises CardError for any value that makes no sense, naming the field.
    """

    input: str | None = None
    kind: str | None = None
    axes: str | None = None
    tokenizer: str | Mapping[str, Any] | None = None
    decoder: str | None = None
    sound: Mapping[str, int] | None = None
    volume: Mapping[str, Any] | None = None
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: Order | tuple[int, ...] = "RGB"
    layout: Layout = "NCHW"
    resize: Resize = "stretch"
    shortest_edge: int | None = None
    stretch_to: tuple[int, int] | None = None
    crop_fraction: float = 0.875
    rounding: Rounding = "nearest"
    interpolation: Filter = "bilinear"
    antialias: bool = True
    pad_value: int = 0
    bits: int | None = None
    window: tuple[float, float] | Literal["none"] | None = None
    bands: tuple[str, ...] | None = None
    display: tuple[int, ...] | None = None
    align: Align = "center"
    dtype: str = "float32"
    labels: tuple[str, ...] | None = None
    output: str | None = None
    answer: str | None = None
    scores: str | None = None
    decision_threshold: float | None = None
    detector: Mapping[str, Any] | None = None
    source: str = ""
    warnings: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checked = check({f.name: getattr(self, f.name) for f in fields(self)}, "the card", confined=False)
        for name in ("order", "display"):
            if isinstance(checked.get(name), tuple):
                checked[name] = _numbered(name, checked[name], checked.get("bands"))
        if len(checked.get("display", ())) not in (0, 1, 3):
            raise CardError(
                f"display names {len(checked['display'])} bands: give three, for red, green and blue, or one"
            )
        if checked.get("bits") is not None and checked.get("window") is not None:
            raise CardError("bits and window both say what a picture's values mean: give one of them")
        channels = _channels(checked["order"])
        for name in ("mean", "std"):
            checked[name] = per_channel(name, checked[name], channels, checked["order"])
        if channels != 1 and "C" not in checked["layout"]:
            raise CardError(
                f"layout {checked['layout']} has no channel axis but the order is {checked['order']}: "
                "say order='GRAY' or a layout with C"
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def channels(self) -> int:
        return _channels(self.order)

    @property
    def has_bands(self) -> bool:
        """Whether the model takes bands of a picture by number, not colours."""
        return not isinstance(self.order, str)

    @property
    def shown_bands(self) -> tuple[int, ...]:
        """The bands that are shown as red, green and blue, or the one in gray, of a model that takes bands."""
        if self.display is not None:
            return self.display
        order = tuple(range(self.channels)) if isinstance(self.order, str) else self.order
        return order[:3] if len(order) >= 3 else order[:1]

    @property
    def batched(self) -> bool:
        """Whether the model's input has a batch axis."""
        return "N" in self.layout

    def channel_of(self, band: int) -> int:
        """The channel of the model that a band of the picture is; the first one for a band that it does not see."""
        order = self.order if isinstance(self.order, tuple) else ()
        return order.index(band) if band in order else 0

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "the card", folder: Path | None = None) -> Card:
        """A card from JSON-like data. `folder` is where label files named in it may lie.

        Raises CardError for an unknown field (with the nearest names) or a value that does not fit.
        """
        return cls(**check(mapping, where, folder))

    def to_mapping(self) -> dict[str, Any]:
        """The card as JSON-like data; `Card.from_mapping` of it gives an equal card."""
        plain: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or (f.name == "about" and not value):
                continue
            named = f.name in ("about", "detector") or isinstance(value, Mapping)
            plain[f.name] = list(value) if isinstance(value, tuple) else dict(value) if named else value
        return plain


FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Card))
# Those that can be given as options: the others describe a card file.
OPTION_FIELDS = tuple(name for name in FIELDS if name not in ("source", "warnings", "about"))
# What `load` takes: these, and how the model computes.
LOAD_OPTIONS = (*OPTION_FIELDS, "half")
# The fields that say what the model answers; the others say how its images are prepared.
ANSWER_FIELDS = ("labels", "output", "answer", "scores", "decision_threshold", "detector")


to_order = choice_of(get_args(Order), True, {"GREY": "GRAY", "L": "GRAY", "GRAYSCALE": "GRAY", "GREYSCALE": "GRAY"})
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "input": to_text,
    "kind": choice_of(tuple(CARD_KINDS), False, {}),
    "axes": to_axes,
    "tokenizer": to_tokenizer,
    "decoder": lambda v: to_text(os.fspath(v) if isinstance(v, os.PathLike) else v),
    "sound": to_sound,
    "volume": to_volume,
    "size": to_size,
    "mean": lambda v: to_numbers(v, positive=False),
    "std": lambda v: to_numbers(v, positive=True),
    "order": lambda v: to_order(v) if isinstance(v, str) or not hasattr(v, "__iter__") else to_bands(v),
    "bits": to_bits,
    "window": to_window,
    "bands": to_names,
    "display": to_bands,
    "layout": choice_of(get_args(Layout), True, {}),
    "resize": choice_of(get_args(Resize), False, {}),
    "shortest_edge": to_edge,
    "stretch_to": to_size,
    "crop_fraction": to_fraction,
    "rounding": choice_of(get_args(Rounding), False, {}),
    "interpolation": choice_of(FILTERS, False, {"linear": "bilinear", "cubic": "bicubic", "lanczos3": "lanczos"}),
    "antialias": to_flag,
    "pad_value": to_pixel,
    "align": choice_of(get_args(Align), False, {"centre": "center"}),
    "dtype": choice_of(DTYPES, False, {}),
    "labels": lambda v: v,
    "output": to_text,
    "answer": choice_of(KINDS, False, {}),
    "scores": choice_of(SCORES, False, {}),
    "decision_threshold": to_probability,
    "detector": to_detector,
    "source": to_text,
    "warnings": to_texts,
    "about": to_entries,
}


def check(
    mapping: Mapping[str, Any], where: str, folder: Path | None = None, *, confined: bool = True
) -> dict[str, Any]:
    """The fields of `mapping`, each checked and in its normal form; fields that are None are left out.

    `where` says in messages whose values they are. Label files are read; `confined` ones must lie in `folder`. Raises
    CardError.
    """
    if not isinstance(mapping, Mapping):
        raise CardError(f"{where} is not a set of named fields: write one JSON object")
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        parse = _PARSERS.get(name) if isinstance(name, str) else None
        if parse is None:
            close = nearest(str(name), FIELDS)
            hint = f"; nearest: {', '.join(map(repr, close))}" if close else f": known are {', '.join(FIELDS)}"
            what = "unknown option" if where.startswith("the options") else f"{where} has an unknown field"
            raise CardError(f"{what} {str(name)!r}{hint}")
        if value is None:
            continue
        if name == "labels":
            found[name] = read_labels(value, where, folder, confined=confined)
            continue
        try:
            found[name] = parse(value)
        except FieldRefused as refused:
            raise CardError(f"{name} in {where} must be {refused}, got {shown(value)}") from None
    return found


def _channels(order: str | tuple[int, ...]) -> int:
    return len(order) if isinstance(order, tuple) else 1 if order == "GRAY" else 3


def _numbered(name: str, wanted: tuple[int | str, ...], names: tuple[str, ...] | None) -> tuple[int, ...]:
    """Bands by number. Raises CardError for one that has no such name."""
    found = []
    for band in wanted:
        if isinstance(band, str):
            if band not in (names or ()):
                close = nearest(band, names or (), most=1)
                hint = f"nearest: {close[0]!r}" if close else "name the picture's bands in bands="
                raise CardError(f"{name} names the band {band!r}, which is not in bands: {hint}")
            found.append((names or ()).index(band))
        elif names is not None and band >= len(names):
            raise CardError(f"{name} names band {band}, counted from 0, but bands has {len(names)} names")
        else:
            found.append(band)
    return tuple(found)


def per_channel(name: str, values: tuple[float, ...], channels: int, order: object) -> tuple[float, ...]:
    """`values` for every channel: one number stands for all of them, equal numbers may collapse into one."""
    if len(values) == channels:
        return values
    if len(set(values)) == 1:
        return values[:1] * channels
    what = f"an image of order {order}" if isinstance(order, str) else "the model's input"
    raise CardError(f"{name} has {len(values)} values but {what} has {channels} channels")
