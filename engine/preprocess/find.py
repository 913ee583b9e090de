"""Finding a model's card: every source in order, each field from the first one that gives it.

    1  the user's options
    2  a card file beside the model: NAME.onnx.card.json, NAME.card.json, NAME.json, card.json;
       labels alone: NAME.labels.txt, labels.txt
    3  Hugging Face preprocessor_config.json, config.json
    4  timm's config.json
    5  OpenVINO's rt_info / model_info
    6  Ultralytics' metadata
    7  Triton's config.pbtxt
    8  ONNX metadata properties: onnxray.card, Image.*
    9  cards of well-known public models, by the file's sha256, else by its name
    10 a default, with a warning

The input's name, size, layout and type are the model's own wherever it fixes them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CardError, ModelError
from ..inspect.answer import Hints, find_answer
from ..inspect.own_scaling import own_scaling
from ..inspect.signature import MOST_CHANNELS, ImageInput, image_input
from ..proto.confinement import leaves
from .card import ANSWER_FIELDS, FIELDS, Card, check, per_channel
from .known_cards import known_cards
from .labels import check_stays, parse_json, read_labels, read_text
from .sources.base import Found
from .sources.onnx_metadata import onnx_image
from .sources.registry import READERS

if TYPE_CHECKING:
    from ..graph.model import Model

# Mean and standard deviation of ImageNet, times 255: what torchvision, timm and most of their descendants normalise by.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
DEFAULT_SIDE = 224

OPTIONS = "the options given"


def find_card(model: Model, **overrides: Any) -> Card:
    """The card of `model`: see the head of this file for where it is looked for.

    `overrides` are card fields of the user's; they precede those given to `load`. The result says in `source` where
    each field came from, and in `warnings` what was assumed.

    Raises CardError when options or a card file make no sense or contradict the model, ModelError when the model has no
    image input, UnknownName for an input that does not exist.
    """
    options = {**model.overrides, **{k: v for k, v in overrides.items() if v is not None}}
    notes: list[str] = []
    return _Merge(model, found_by_sources(model, options, notes), notes).card()


def said_beside(model: Model) -> dict[str, Any]:
    """`kind`, `axes`, `tokenizer`, `decoder`, `sound`, `volume` of the model's card file or property, and `input`.

    A card that makes no sense is refused where the card is looked for as a whole.
    """
    try:
        found = [*(_card_files(model.path) if model.path is not None else ()), *_property(model)]
    except CardError:
        return {}
    for source in found:
        said = ("kind", "axes", "tokenizer", "decoder", "sound", "volume")
        if {*said} & set(source.fields):
            return {name: source.fields[name] for name in (*said, "input") if name in source.fields}
    return {}


def find_hints(model: Model) -> Hints:
    """What the sources of a card say of the model's answer; of models without an image input as well.

    Raises CardError when options or a card file make no sense.
    """
    found = found_by_sources(model, dict(model.overrides), [])
    values: dict[str, Any] = {}
    for source in found:
        for name in ANSWER_FIELDS:
            if name in source.fields:
                values.setdefault(name, source.fields[name])
    return _hints(values)


def find_detector(model: Model) -> dict[str, Any]:
    """What the sources of a card say of a detector's candidates, the options first. Raises CardError."""
    values: dict[str, Any] = {}
    for source in reversed(found_by_sources(model, dict(model.overrides), [])):
        values |= source.fields.get("detector") or {}
    return values


def _hints(values: Mapping[str, Any]) -> Hints:
    labels = values.get("labels")
    return Hints(
        output=values.get("output"),
        kind=values.get("answer"),
        scores=values.get("scores"),
        threshold=values.get("decision_threshold"),
        labels=None if labels is None else len(labels),
    )


def found_by_sources(model: Model, options: dict[str, Any], notes: list[str]) -> list[Found]:
    """What every source says, the options first."""
    beside = said_beside(model) if {"kind", "axes", "sound"} & set(options) else {}
    own = {name: value for name, value in options.items() if name not in beside or beside[name] != value}
    found = [Found(OPTIONS, check(own, OPTIONS, confined=False), strict=True)]
    return found + [f for f in _sources(model, notes) if f.fields or f.notes]


def _sources(model: Model, notes: list[str]) -> Iterator[Found]:
    if model.path is not None:
        yield from _card_files(model.path)
        yield from _optional("the labels next to the model", lambda _: _label_files(model.path), model, notes)
    for what, reader in READERS:
        yield from _optional(what, reader, model, notes)
    yield from _property(model)
    yield from _optional("the model's Image.* metadata", onnx_image, model, notes)
    yield from _known_card(model)


def _property(model: Model) -> Iterator[Found]:
    if "onnxray.card" in model.metadata:
        where = "the model's property onnxray.card"
        content = parse_json(model.metadata["onnxray.card"], where)
        yield Found(where, _described(check(content, where)), strict=True)


def _optional(what: str, reader: Any, model: Model, notes: list[str]) -> Iterator[Found]:
    """What `reader` finds; a file that makes no sense is left aside with a note."""
    try:
        yield from list(reader(model))
    except CardError as error:
        notes.append(f"{what} was ignored: {error}")


def _card_files(path: Path) -> Iterator[Found]:
    for name in (f"{path.name}.card.json", f"{path.stem}.card.json", f"{path.stem}.json", "card.json"):
        file = path.with_name(name)
        if not file.is_file():
            continue
        where = f"the card file {str(file)!r}"
        content = parse_json(read_text(file, "the card file"), where)
        if not name.endswith("card.json") and not _is_card(content):
            continue  # somebody else's JSON that happens to have the model's name
        yield Found(where, _described(check(content, where, file.parent)), strict=True)


def _is_card(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(name in FIELDS for name in content)


def _described(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what a card says of itself when it was written: this finds out anew."""
    return {name: value for name, value in fields.items() if name not in ("source", "warnings")}


def _label_files(path: Path | None) -> Iterator[Found]:
    for name in (f"{path.stem}.labels.txt", "labels.txt") if path is not None else ():
        file = path.with_name(name) if path is not None else Path(name)
        if file.is_file():
            check_stays(file, file.parent, "the label file")
            yield Found(name, {"labels": read_labels(file, name)})
            return


def _known_card(model: Model) -> Iterator[Found]:
    stem = model.path.stem.lower() if model.path is not None else ""
    digest = model.file_sha256
    by_name = None
    for family, card in known_cards().items():
        about = card.get("about", {})
        if any(entry.get("sha256") == digest for entry in about.get("files", {}).values()):
            yield _known_found(model, family, card, ())
            return
        if by_name is None and stem and any(fnmatch.fnmatchcase(stem, pattern) for pattern in about.get("names", ())):
            by_name = family
    if by_name is not None:
        note = f"the model was taken for {by_name} by its file name only"
        yield _known_found(model, by_name, known_cards()[by_name], (note,))


def _known_found(model: Model, family: str, card: Mapping[str, Any], notes: tuple[str, ...]) -> Found:
    where = f"the built-in card {family}"
    fields = _described(check(card, where))
    labels = card.get("about", {}).get("labels_file")
    if (
        labels
        and "labels" not in fields
        and model.path is not None
        and (file := model.path.with_name(labels)).is_file()
        and not leaves(file, file.parent)
    ):
        fields["labels"] = read_labels(file, where)
    return Found(where, fields, notes=notes)


def _channels_of(order: str | tuple[int | str, ...]) -> int:
    return len(order) if not isinstance(order, str) else 1 if order == "GRAY" else 3


class _Merge:
    """Puts the fields together and settles them with the model."""

    def __init__(self, model: Model, found: list[Found], notes: list[str]) -> None:
        self.model, self.found = model, found
        self.values: dict[str, Any] = {}
        self.origin: dict[str, Found] = {}
        self.warnings: list[str] = list(notes)
        for source in found:
            self.warnings += [f"{source.where}: {note}" for note in source.notes]
            for name, value in source.fields.items():
                if name not in self.values:
                    self.values[name], self.origin[name] = value, source
        self.settled: dict[str, str] = {}

    def card(self) -> Card:
        self.input()
        self.depth()
        self.size()
        self.order()
        self.normalisation()
        self.labels()
        self.values.pop("source", None)
        told = self.values.pop("warnings", ())
        self.warnings += self.idle()
        return Card(**self.values, source=self.source(), warnings=(*told, *dict.fromkeys(self.warnings)))

    def idle(self) -> list[str]:
        """What to say of options that have no effect with the others as they are."""
        resize = self.values.get("resize", "stretch")
        crop, letterbox = "resize='crop'", "resize='letterbox'"
        needs = {"align": letterbox} if resize != "letterbox" else {}
        if resize == "stretch":
            needs["pad_value"] = f"{crop} or 'letterbox'"
        if resize != "crop":
            needs |= dict.fromkeys(("shortest_edge", "stretch_to", "crop_fraction", "rounding"), crop)
        else:
            for name, over in (("shortest_edge", ("stretch_to",)), ("crop_fraction", ("stretch_to", "shortest_edge"))):
                stronger = [other for other in over if other in self.values]
                needs |= {name: f"{stronger[0]} left out"} if stronger else {}
        if isinstance(self.values["order"], str):
            needs |= dict.fromkeys(("bands", "display"), "order= with a list of bands")
        mine = [name for name in needs if name in self.origin and self.origin[name].where == OPTIONS]
        return [f"{OPTIONS}: {name} has no effect without {needs[name]}" for name in mine]

    def contradiction(self, name: str, message: str) -> None:
        """Raise CardError if the field is the user's or a card file's; else drop it with a warning."""
        source = self.origin[name]
        if source.strict:
            raise CardError(f"{source.where}: {message}")
        self.warnings.append(f"{source.where}: {message}; ignored")
        del self.values[name], self.origin[name]

    def input(self) -> None:
        for name in ("input", "layout"):
            if name not in self.values or self.origin[name].strict:
                continue
            try:
                image_input(self.model, self.values.get("input"), self.values.get("layout"))
            except (CardError, ModelError) as error:
                self.contradiction(name, str(error))
        try:
            image = image_input(self.model, self.values.get("input"), self.values.get("layout"))
        except CardError as error:
            raise CardError(
                f"{self.origin['layout'].where if 'layout' in self.origin else 'the card'}: {error}"
            ) from error
        if image.channels not in (1, 3) and self.unlikely(image):
            wrong = f"input {image.name!r} read as {image.layout} has {image.channels} channels"
            if "layout" not in self.values:
                raise ModelError(f"{wrong}: feed tensors, name its bands with order=, or another input with input=")
            self.contradiction("layout", wrong)
            return self.input()
        self.image = image
        self.fix("input", image.name)
        self.fix("layout", image.layout)
        dtype = image.dtype.name
        if "dtype" in self.values and self.values["dtype"] != dtype:
            self.contradiction("dtype", f"dtype is {self.values['dtype']} but the model's input holds {dtype}")
        self.fix("dtype", dtype)
        return None

    def unlikely(self, image: ImageInput) -> bool:
        """Whether so many channels say that the layout is wrong: they do unless the user or a card names the bands."""
        named = self.values.get("order")
        if named is not None and not isinstance(named, str):
            return False
        return image.channels >= MOST_CHANNELS or ("layout" in self.values and not self.origin["layout"].strict)

    def fix(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.settled[name] = "the model's input"

    def depth(self) -> None:
        """Of `bits` and `window`, which say the same, the one from the stronger source counts."""
        if {"bits", "window"} <= set(self.values) and self.origin["bits"] is not self.origin["window"]:
            weaker = max(("bits", "window"), key=lambda name: self.found.index(self.origin[name]))
            del self.values[weaker], self.origin[weaker]

    def size(self) -> None:
        fixed = self.image.size
        wanted = self.values.get("size")
        if wanted is not None and any(f is not None and f != w for f, w in zip(fixed, wanted, strict=True)):
            shown = "x".join("any" if f is None else str(f) for f in fixed)
            self.contradiction("size", f"size is {wanted[0]}x{wanted[1]} but the model's input is fixed at {shown}")
            wanted = None
        if None not in fixed:
            self.scale_edges(fixed)  # type: ignore[arg-type]  # no None in it
            self.fix("size", fixed)
            return
        if wanted is None:
            known = [side for side in fixed if side is not None]
            side = known[0] if known else DEFAULT_SIDE
            wanted = (fixed[0] or side, fixed[1] or side)
            self.warnings.append(
                f"the model takes images of any size and none is given: using {wanted[0]}x{wanted[1]} (size=)"
            )
            self.settled["size"] = "the default"
        self.scale_edges(wanted)
        self.values["size"] = wanted

    def scale_edges(self, size: tuple[int, int]) -> None:
        """Lengths before the crop belong to their own source's size: at another size they keep the proportion."""
        for name in ("shortest_edge", "stretch_to"):
            if name not in self.values:
                continue
            own = self.origin[name].fields.get("size")
            if own is None or own == size:
                continue
            value = self.values[name]
            if name == "shortest_edge":
                self.values[name] = max(1, round(value * max(s / o for s, o in zip(size, own, strict=True))))
            else:
                self.values[name] = tuple(max(1, round(v * s / o)) for v, s, o in zip(value, size, own, strict=True))

    def order(self) -> None:
        channels = self.image.channels
        order = self.values.get("order")
        if order is not None and _channels_of(order) != channels:
            what = order if isinstance(order, str) else f"{len(order)} bands"
            self.contradiction("order", f"order is {what} but the model's input has {channels} channels")
            order = None
        if order is None and channels in (1, 3):
            self.values["order"] = "GRAY" if channels == 1 else "RGB"
            self.settled["order"] = "the model's input" if channels == 1 else "the default"
        elif order is None:
            self.values["order"] = self.values.get("bands", ())[:channels] or tuple(range(channels))
            self.settled["order"] = "the default"
            if "display" not in self.values:
                self.warnings.append(
                    f"the model takes {channels} bands: they are a picture's first {channels} (order=), and what is "
                    f"shown is {'its first three as red, green and blue' if channels > 2 else 'its first'} (display=)"
                )

    def normalisation(self) -> None:
        channels = self.image.channels
        for name in ("mean", "std"):
            if name not in self.values:
                continue
            values = self.values[name]
            own = self.origin[name].fields.get("order")
            if "RGB" in (own, self.values["order"]) and "BGR" in (own, self.values["order"]):
                values = values[::-1]  # they stay with their channels
            try:
                self.values[name] = per_channel(name, values, channels, self.values["order"])
            except CardError as error:
                self.contradiction(name, str(error))
        if "mean" in self.values and "std" in self.values:
            low = (
                max(self.values["std"]) < 1
                and max(abs(m) for m in self.values["mean"]) <= 1
                and any(self.values["mean"])
            )
            if low:
                self.warnings.append(
                    "mean and std look meant for pixels of 0..1, a card's are for 0..255: multiply them by 255"
                )
            return
        self.default_normalisation()

    def default_normalisation(self) -> None:
        given = [name for name in ("mean", "std") if name in self.values]
        dtype = self.image.dtype
        default: tuple[tuple[float, ...], tuple[float, ...]]
        scaled = None if given or dtype.kind in "iu" else own_scaling(self.model, self.image.name)
        if scaled is not None:
            self.values["mean"], self.values["std"] = (0.0,), (1.0,)
            self.settled["mean"] = self.settled["std"] = f"the graph, which scales pixels itself ({scaled})"
            return
        if given or dtype.name == "uint8" or self.values.get("window") == "none":
            default, told = ((0.0,), (1.0,)), ""
        elif dtype.kind in "iu":
            default, told = ((128.0,), (1.0,)), f"pixels minus 128, as the input's type {dtype.name} suggests"
        elif self.image.channels != 3 or not isinstance(self.values["order"], str):
            default, told = ((0.0,), (255.0,)), "pixels scaled to 0..1"
        else:
            step = -1 if self.values["order"] == "BGR" else 1
            default = (IMAGENET_MEAN[::step], IMAGENET_STD[::step])
            told = f"{self.values['order']}, normalised by ImageNet's mean and standard deviation"
        for name, value in zip(("mean", "std"), default, strict=True):
            if name not in self.values:
                self.values[name] = value
                self.settled[name] = "the default"
        if told:
            self.warnings.append(
                f"no preprocessing found: assuming {told}; if predictions are poor, "
                "give mean=, std=, order=, resize= or put a card next to the model"
            )

    def labels(self) -> None:
        labels = self.values.get("labels")
        classes = self.classes()
        if labels is None or classes is None or len(labels) == classes:
            return
        hint = ""
        if classes == len(labels) + 1:
            hint = ": class 0 is probably the background, put a line for it in front"
        elif len(labels) == classes + 1:
            hint = ": the first label is probably the background, leave it out"
        self.contradiction("labels", f"{len(labels)} labels for an output of {classes} classes{hint}")

    def classes(self) -> int | None:
        try:
            answer = find_answer(self.model, _hints(self.values))
        except ModelError:
            return None
        return answer.classes if answer.has_classes else None

    def source(self) -> str:
        """One sentence: which fields came from where."""
        groups: dict[str, list[str]] = {}
        for name in FIELDS:
            if name in self.values and name not in ("source", "warnings", "about"):
                origin = self.settled.get(name) or (self.origin[name].where if name in self.origin else "the default")
                groups.setdefault(origin, []).append(name)
        rest = [name for name in ("resize",) if name not in self.values]
        if rest:
            groups.setdefault("the default", []).extend(rest)
        return "; ".join(f"{', '.join(names)} from {origin}" for origin, names in groups.items())
