"""Every error that onnxray raises on purpose.

    OnnxrayError                base of all; bad input never raises anything else
    ├── RuntimeUnavailable      no usable onnxruntime, or an execution provider that cannot be had here
    ├── ModelError              the file is not a model that can be used, and why
    │   ├── ExternalDataError   a tensor's data file is missing, too short or outside the model's folder
    │   ├── OpsetError          an operator cannot be brought to the opset that is needed
    │   └── OutOfMemory         a run, or a session, for which the memory does not suffice
    ├── UnknownName             no such value, layer, label, method or model; offers the nearest names
    ├── SplitError              the values do not cut the graph in two; names what goes around the cut
    ├── ShapeError              a shape or type does not fit, or cannot be known
    ├── GradientError           a gradient that cannot be had
    │   ├── NoGradient          an operator on the path has none; names node, operator and opset
    │   └── Disconnected        the output does not depend on the value it should be differentiated by
    ├── CardError               preprocessing or labels that contradict the model or themselves
    ├── ImageError              an image that cannot be read
    ├── TextError               a text that cannot be read, or a tokenizer that is missing or does not fit
    ├── SoundError              a sound that cannot be read, or that the model does not take
    ├── VolumeError             a volume that cannot be read, or that the model does not take
    ├── TargetError             a target that the model's output does not have
    ├── MethodError             a method that does not fit this model or these options
    │   └── NoSum               a score that is no sum of trees and of numbers times weights
    ├── OutputError             results that cannot be written
    ├── DownloadError           a download that failed or does not have the expected checksum
    ├── RuleError               a rule of inspection that is no expression, or that has no value for an image
    ├── Busy                    a pipeline has no place for another image
    └── PipelineClosed          a pipeline takes no more images, or was stopped before an image's turn

A message says what failed, where (operator, node, opset, shape, file) and what to do about it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class OnnxrayError(Exception):
    """Base of every error raised on purpose."""


class RuntimeUnavailable(OnnxrayError):
    """No usable onnxruntime, or an execution provider that cannot be had on this machine."""


class ModelError(OnnxrayError):
    """The file or object is not a model that can be used."""


class ExternalDataError(ModelError):
    """A tensor's data file is missing, too short, or outside the model's folder."""


class OpsetError(ModelError):
    """An operator cannot be brought to the opset that is needed."""


class OutOfMemory(ModelError):
    """A run of the model, or a session for it, for which the memory of its device does not suffice."""


class UnknownName(OnnxrayError):
    """A name that does not exist; the message offers the nearest ones."""

    def __init__(self, kind: str, name: object, choices: Iterable[str], remedy: str = "") -> None:
        self.kind, self.name, self.nearest = kind, name, nearest(str(name), choices)
        hint = f"; nearest: {', '.join(repr(n) for n in self.nearest)}" if self.nearest else ""
        super().__init__(f"no {kind} named {str(name)!r}{hint}" + (f"; {remedy}" if remedy else ""))


class SplitError(OnnxrayError):
    """The given values do not cut the graph in two."""


class ShapeError(OnnxrayError):
    """A shape or type does not fit, or cannot be known."""


class GradientError(OnnxrayError):
    """A gradient that cannot be had."""


class NoGradient(GradientError):
    """An operator on the path has no gradient."""


class Disconnected(GradientError):
    """The value to differentiate does not depend on the value it is differentiated by."""


class CardError(OnnxrayError):
    """Preprocessing or labels that contradict the model or themselves."""


class ImageError(OnnxrayError):
    """An image that cannot be read."""


class TextError(OnnxrayError):
    """A text that cannot be read, or a tokenizer that is missing or does not fit the model."""


class SoundError(OnnxrayError):
    """A sound that cannot be read, or that the model does not take."""


class VolumeError(OnnxrayError):
    """A volume that cannot be read, or that the model does not take."""


class TargetError(OnnxrayError):
    """A target that the model's output does not have."""


class MethodError(OnnxrayError):
    """A method that does not fit this model or these options."""


class NoSum(MethodError):
    """A score that is no sum of trees and of numbers times weights."""


class OutputError(OnnxrayError):
    """Results that cannot be written."""


class DownloadError(OnnxrayError):
    """A download that failed or does not have the expected checksum."""


class RuleError(OnnxrayError):
    """A rule of inspection that is no expression, or that has no value for an image."""


class Busy(OnnxrayError):
    """A pipeline has no place for another image."""


class PipelineClosed(OnnxrayError):
    """A pipeline takes no more images, or was stopped before an image's turn."""


def nearest(name: str, choices: Iterable[str], most: int = 3) -> list[str]:
    """The `most` names that `name` may stand for, best first.

    Those that hold it as a whole word, then those that begin with it or hold it, then those closest in spelling.
    """
    wanted = name.lower()
    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(choice.lower(), choice)
    holding = [low for low in folded if len(wanted) > 2 and wanted in low]
    word = re.compile(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])")
    holding.sort(key=lambda low: (word.search(low) is None, not low.startswith(wanted), len(low)))
    close = difflib.get_close_matches(wanted, folded, n=most, cutoff=0.5)
    parts = [low for low in folded if wanted and wanted in low]
    return [folded[low] for low in dict.fromkeys([*holding, *close, *parts])][:most]
