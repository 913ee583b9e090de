"""What is written of explanations: entries of the manifest, lines, names in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..parameters.methods import plain_options

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.preprocess.card import Card
    from ...engine.targets.target import Target
    from ..files.run import Run
    from .explain import ExplainOptions
    from .over_images import Pixels
    from .ranges import Ranges


def entry_of(e: Explanation, colormap: str | None = None, ends: tuple[float, float] | None = None) -> dict[str, Any]:
    """What the manifest says of one map. ends: the values at the ends of its colours, where they are not its own."""
    about = e.manifest()
    display = {**about["display"], "colormap": colormap or about["display"]["colormap"]}
    if ends is not None:
        display |= {"own_range": [display["lowest"], display["highest"]], "lowest": ends[0], "highest": ends[1]}
    kept = ("method", "target", "score", "probability", "layer", "layer_reason", "values", "details", "warnings")
    parts = {"parts": {name: float(part.sum()) for name, part in e.parts.items()}} if len(e.inputs) > 1 else {}
    return {**{key: about[key] for key in kept}, "display": display, **parts}


def summary(e: Explanation) -> str:
    """What came out, in a few words: target, score, probability, layer."""
    return f"{e.label}, {e.score_text}, {e.method}{f' at {e.layer}' if e.layer else ''}"


_SUFFIXES = {"jpeg": ".jpg", "webp": ".webp"}


def suffix_of(options: ExplainOptions) -> str:
    """Of the files of overlays and sheets."""
    return next((suffix for name, suffix in _SUFFIXES.items() if name in options.formats), ".png")


def write_map(
    run: Run,
    options: ExplainOptions,
    e: Explanation,
    name: str,
    overlay: Pixels | None,
    ends: tuple[float, float] | None,
) -> list[str]:
    """Write the map, in colours and as an overlay, what of them is asked for; the files written."""
    files = []
    if "npy" in options.formats:
        files.append(run.array(f"{name}.npy", e.values))
    if "heatmap" in options.formats:
        files.append(run.picture(f"{name}-heatmap.png", e.picture(options.colormap, ends)))
    if "overlay" in options.formats and overlay is not None:
        files.append(run.picture(f"{name}-overlay{suffix_of(options)}", overlay))
    return files


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


def fits_ranges(ranges: Ranges, entry: dict[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError for an entry of an earlier run that is not of this command's form, or
    whose pictures have other colours than the images of this run share."""
    left_out_of_all([entry])
    for found in entry["maps"]:
        list(found["files"])
        ranges.check(found)


def decisive_of(options: ExplainOptions, methods: Sequence[Method], targets: Sequence[Target]) -> dict[str, Any]:
    """The options of the manifest."""
    return {
        "methods": {method.name: plain_options(method) for method in methods},
        "targets": [str(target) for target in targets],
        "formats": list(options.formats),
        "alpha": options.alpha,
        "colormap": options.colormap,
        "range": options.range,
        "threshold": options.threshold,
        "side": options.side,
        "batch": options.batch,
        **({"with": sorted(options.feeds)} if options.feeds else {}),
        **options.texts.to_mapping(),
        **options.selection.to_mapping(),
        **options.inspection.to_mapping(),
        **({"trust": True} if options.trust else {}),
        **({"against": options.against} if options.against else {}),
        **options.share.to_mapping(),
        **options.common.runtime,
    }


def about_of(options: ExplainOptions, model: Model, card: Card | None) -> dict[str, Any]:
    from ..files.run import describe, describe_card

    return {
        "model": describe(model),
        "card": None if card is None else describe_card(card),
        "layers": list(options.layers),
    }
