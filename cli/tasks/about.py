"""What a page says of the model that it is about, at its head."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..terminal.table import count

if TYPE_CHECKING:
    from ...engine.proto.values import Value
    from .subject import Subject


@dataclass(frozen=True)
class About:
    """Facts as (name, text), the model's sha256, and the names of its classes and layers, which are not translated."""

    facts: tuple[tuple[str, str], ...]
    sha256: str
    names: tuple[str, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return {"facts": [list(fact) for fact in self.facts], "sha256": self.sha256, "names": list(self.names)}

    @staticmethod
    def from_mapping(found: Mapping[str, Any]) -> About:
        """Raises KeyError, TypeError or ValueError for data of another form."""
        facts = tuple((str(name), str(text)) for name, text in found["facts"])
        return About(facts, str(found["sha256"]), tuple(map(str, found["names"])))


def about_of(subject: Subject) -> About:
    """The facts about a model and its card."""
    from ...engine.inspection import inspect

    report = inspect(subject.model)
    card = subject.card
    facts = [
        ("model", subject.model.path.name if subject.model.path else "in memory"),
        ("made by", report.producer),
        (
            "size",
            f"{len(report.layers)} layers, {count(report.params)} parameters, {count(report.macs)} MACs per image",
        ),
        ("input", "; ".join(map(_value, subject.model.inputs))),
        ("output", "; ".join(map(_value, subject.model.outputs))),
        ("images", f"{card.size[0]} x {card.size[1]} pixels, {card.order}, {card.resize}"),
        ("known from", card.source),
    ]
    facts += [("note", warning) for warning in card.warnings]
    shown = tuple((name, _without_folders(text, subject)) for name, text in facts if text)
    names = (*(card.labels or ()), *(layer.name for layer in subject.model.layers))
    return About(shown, str(subject.model.sha256), names)


def _value(value: Value) -> str:
    sizes = " x ".join("?" if side is None else str(side) for side in value.shape or ()) or "?"
    return f"{value.name}: {value.dtype} {sizes}"


def _without_folders(text: str, subject: Subject) -> str:
    """The text without the folders of the machine: pages are passed on."""
    files = [subject.model.path, subject.focused[0], Path.cwd() / "_", Path.home() / "_"]
    folders = {str(path.resolve().parent) for path in files if path is not None}
    folders |= {str(path.parent) for path in files if path is not None and path.is_absolute()}
    for folder in sorted(folders, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(f"{folder}{os.sep}", "")
    return text
