"""The cards of well-known public models that come with onnxray."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .labels import parse_json, read_text

KNOWN_FOLDER = Path(__file__).parents[2] / "models" / "cards"


def known_cards() -> Mapping[str, Mapping[str, Any]]:
    """The cards of well-known public models that come with onnxray: name of the family -> the card's JSON."""
    return _known(KNOWN_FOLDER)


@cache
def _known(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    cards = {p.stem: parse_json(read_text(p, "the card"), repr(p.name)) for p in sorted(folder.glob("*.json"))}
    return MappingProxyType(cards)
