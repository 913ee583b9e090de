"""What is said of one map: its entry of the manifest, a line of words, its name in file names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation


def entry_of(e: Explanation, colormap: str | None = None, ends: tuple[float, float] | None = None) -> dict[str, Any]:
    """What the manifest says of one map. ends: the values at the ends of its colours, where they are not its own."""
    about = e.manifest()
    display = {**about["display"], "colormap": colormap or about["display"]["colormap"]}
    if ends is not None:
        display |= {"own_range": [display["lowest"], display["highest"]], "lowest": ends[0], "highest": ends[1]}
    kept = ("method", "target", "score", "probability", "layer", "layer_reason", "values", "details", "warnings")
    return {**{key: about[key] for key in kept}, "display": display}


def summary(e: Explanation) -> str:
    """What came out, in a few words: target, score, probability, layer."""
    return f"{e.label}, {e.score_text}, {e.method}{f' at {e.layer}' if e.layer else ''}"


def file_name(e: Explanation) -> str:
    """A target in a file name."""
    from ...engine.targets.kinds.classes import Class

    inner = getattr(e.target, "inner", e.target)
    if isinstance(inner, Class) and inner.label:
        return f"{inner.which}-{inner.label.split(',')[0]}"
    return str(e.target)


def left_out_of_all(entries: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The methods of `all` that fit none of the images, and why they do not fit the first."""
    reasons = [entry.get("left_out", {}) for entry in entries if entry["status"] == "done"]
    first = reasons[0] if reasons else {}
    return {name: why for name, why in first.items() if all(name in others for others in reasons)}
