"""Targets as text: what `--target` takes on the command line. The forms are listed in `target.py`."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import TargetError
from ..preprocess.arrays import read_array
from .target import STRONGEST, Class, Contrast, Cotangent, Element, Predicted, Region, Scale, Several, Target, Unit


def parse(text: str) -> Target:
    """A target from its text; what is no other form is a label. Raises TargetError."""
    text = text.strip()
    if len(text) > _LONGEST:
        raise TargetError(f"a target of {len(text)} characters is none: write at most {_LONGEST}")
    kind, colon, rest = text.partition(":")
    if text == "predicted":
        return Predicted()
    if _is_number(text):
        return Class(int(text))
    if colon and kind in _FORMS:
        try:
            return _FORMS[kind](rest.strip())
        except (ValueError, RecursionError):
            raise TargetError(f"the target {text!r} cannot be read: write {_SYNTAX[kind]}") from None
    if not text:
        raise TargetError("the target is empty: give 'predicted', a class index or a label")
    return Class(text)


# Of characters: a label has at most 1000, numbers of thousands of digits cannot be converted.
_LONGEST = 4000


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}", text) is not None


def _listed(text: str) -> list[Target]:
    return [parse(part) for part in text.split(";" if ";" in text else ",")]


def _contrast(text: str) -> Target:
    a, b = _listed(text)
    return Contrast(a, b)


def _unit(text: str) -> Target:
    layer, _, rest = text.rpartition(":")
    if not layer:
        raise ValueError(text)
    channel, *at = [part.strip() for part in rest.split(",")]
    where: tuple[int, ...] | str | None = tuple(int(i) for i in at) if at != [STRONGEST] else STRONGEST
    return Unit(layer, channel if channel == STRONGEST else int(channel), where or None)


def _element(text: str) -> Target:
    value, colon, rest = text.rpartition(":")
    if not colon:
        value, rest = text, ""  # a value of one number per sample
    if not value:
        raise ValueError(text)
    entries = [part.strip() for part in rest.split(",")] if rest.strip() else []
    return Element(value, tuple(e if e in ("max", "mean") else int(e) for e in entries))


def _region(text: str) -> Target:
    head, _, tail = text.rpartition(":")
    box = tail.split(",")
    numbers = all(re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", part) for part in box)
    if head and len(box) == 4 and numbers:
        return Region(_which(head), tuple(float(part) for part in box))
    if not text or (head and numbers):
        raise ValueError(text)
    return Region(_which(text))


def _which(text: str) -> int | str:
    return int(text) if _is_number(text) else text


def _cotangent(text: str) -> Target:
    value, _, file = text.rpartition(":")
    if not value:
        raise ValueError(text)
    try:
        array = read_array(file)
    except ValueError as error:
        raise TargetError(f"the cotangent's file {file!r} cannot be read as a NumPy array: {error}") from None
    return Cotangent(value, array)


_FORMS: dict[str, Callable[[str], Target]] = {
    "rank": lambda text: Predicted(int(text)),
    "top": lambda text: Target.top(int(text)),
    "class": Class,
    "classes": lambda text: Several(tuple(_listed(text))),
    "contrast": _contrast,
    "prob": lambda text: Scale("prob", parse(text)),
    "logit": lambda text: Scale("logit", parse(text)),
    "unit": _unit,
    "element": _element,
    "region": _region,
    "cotangent": _cotangent,
}
_SYNTAX = {
    "rank": "rank:NUMBER",
    "top": "top:NUMBER",
    "class": "class:LABEL",
    "classes": "classes:A,B,...",
    "contrast": "contrast:A,B",
    "prob": "prob:CLASS",
    "logit": "logit:CLASS",
    "unit": "unit:LAYER:CHANNEL, unit:LAYER:CHANNEL,Y,X or unit:LAYER:strongest,strongest",
    "element": "element:VALUE:INDEX,INDEX,... with a number, 'max' or 'mean' for every axis after the batch; "
    "element:VALUE for a value of one number per sample",
    "region": "region:CLASS or region:CLASS:Y0,X0,Y1,X1",
    "cotangent": "cotangent:VALUE:FILE.npy",
}
