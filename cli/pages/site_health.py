"""What is doubtful about the units of a layer over a data set, in words, with a line of advice for each finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ..tasks.site.view import LayerView

# In words; (number, title) of the units meant; what to do.
Finding: TypeAlias = "tuple[str, list[tuple[int, str]], str]"


def health_of(layer: LayerView) -> list[Finding]:
    """The findings; nothing where there was no survey."""
    numbers = layer.numbers
    if not numbers:
        return []
    rectified = any(op.rpartition(".")[2] in ("Relu", "Clip") for _, op in layer.facts["chain"])
    found: list[Finding] = []
    if rectified and numbers["dead"]:
        advice = "They give 0 for every image: nothing can be learned through them. A lower learning rate, leaky "
        advice += "rectifiers or another initialisation keep units alive; pruned, they are missed by nobody."
        found.append((_counted(numbers["dead"], "dead unit"), _units(layer, numbers["dead"]), advice))
    if rectified and numbers["always"] and numbers["images"] > 1:
        advice = "They are above 0 somewhere in every image: they tell images apart by how much, not by whether."
        found.append(
            (_counted(numbers["always"], "unit") + " in every image", _units(layer, numbers["always"]), advice)
        )
    if numbers["twins"]:
        units = sorted({unit for pair in numbers["twins"] for unit in pair})
        advice = "Their correlation over the images is above 0.99: one of each pair would do."
        found.append((_counted(numbers["twins"], "pair") + " of units that do the same", _units(layer, units), advice))
    if numbers["rank"] is not None:
        words = f"Effective rank {numbers['rank']:.1f} of {min(len(layer.units), numbers['images'])}"
        advice = "By so many directions the units vary from image to image (participation ratio of the covariance). "
        advice += "Much lower than the number of units, the layer is wider than these images need."
        found.append((words, [], advice))
    return found


def _counted(what: Sequence[object], word: str) -> str:
    return f"{len(what)} {word}{'s' * (len(what) > 1)}"


def _units(layer: LayerView, numbers: Sequence[int]) -> list[tuple[int, str]]:
    return [(n, str(n)) for n in numbers if n in layer.by_number]
