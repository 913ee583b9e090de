"""From files and arrays to input tensors, and back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import Card as Card
    from .find import find_card as find_card
    from .image import prepare as prepare

# Imported on first use: listing the names of models needs the cards that come with onnxray, and no onnx.
_WHERE = {"Card": "card", "find_card": "find", "prepare": "image"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
