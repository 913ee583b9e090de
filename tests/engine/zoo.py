"""Reading the model zoo: its cases, what they are fed, and the cards of its trained networks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray


def cases(wanted: Callable[[dict[str, Any]], bool] = lambda case: True) -> list[Any]:
    """The names of the cases of other frameworks, for `parametrize`; one that is skipped where there is no zoo.

    wanted: chooses by the case's entry in the index.
    """
    place = os.environ.get("ONNXRAY_ZOO")
    index = Path(place, "frameworks", "index.json") if place else None
    if index is None or not index.is_file():
        return [
            pytest.param("", marks=pytest.mark.skip(reason="ONNXRAY_ZOO does not name the folder of the model zoo"))
        ]
    return [case["name"] for case in json.loads(index.read_text())["cases"] if wanted(case)]


def feeds_of(folder: Path) -> dict[str, np.ndarray]:
    """What the case in `folder` was fed, by input."""
    with np.load(folder / "io.npz") as arrays:
        return {key[3:]: arrays[key] for key in arrays.files if key.startswith("in:")}


def manifest_of(zoo: Path) -> dict[str, dict[str, Any]]:
    """What the manifest says of every file."""
    return {entry["file"]: entry for entry in json.loads((zoo / "manifest.json").read_text())["files"]}


def card_of(entry: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of a network, as the fields of a card; without labels."""
    stated = entry["preprocessing"]
    return {
        "size": stated["size"],
        "mean": stated["mean"],
        "std": stated["std"],
        "order": stated["order"].upper().replace("GREY", "GRAY"),
        "layout": entry["layout"],
        "resize": "crop" if "short side" in stated.get("resize", "") else "stretch",
    }


def opened(zoo: Path, name: str) -> onnxray.Model:
    """The trained network `name` with its card."""
    entry = manifest_of(zoo)[f"models/{name}.onnx"]
    card = card_of(entry)
    if entry.get("labels"):
        card["labels"] = str(zoo / entry["labels"])
    return onnxray.load(zoo / entry["file"], **card)
