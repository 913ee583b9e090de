"""What the pages of a site say of the model: facts, preprocessing, layers, the graph. Plain data, made once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .plan import SiteLayer

if TYPE_CHECKING:
    from ....engine.graph.model import Model
    from ....engine.inspect.layers import Layer
    from ....engine.preprocess.card import Card


def facts_of(model: Model, card: Card | None, layers: Sequence[SiteLayer], name: str) -> dict[str, Any]:
    """Everything but pictures, as JSON-like data; `name` is what the model is called."""
    labels = card.labels if card is not None else None
    return {
        "name": name,
        "model": _model(model),
        "preprocessing": [] if card is None else [[k, _bare(v, model)] for k, v in _preprocessing(card)],
        "warnings": [] if card is None else [_bare(text, model) for text in card.warnings],
        "labels": None if labels is None else list(labels),
        "layers": [_layer(layer) for layer in layers],
        "graph": _graph(model, layers),
    }


def _model(model: Model) -> list[list[str]]:
    from ....engine.inspection import inspect
    from ...terminal.table import count

    report = inspect(model)
    size = f"{len(report.layers)} layers, {count(report.params)} parameters, {count(report.macs)} MACs per image"
    rows = [
        ("file", model.path.name if model.path else "in memory"),
        ("sha256", model.sha256),
        ("made by", report.producer),
        ("opset", str(model.opset)),
        ("size", size),
        *(("input", str(value)) for value in model.inputs),
        *(("output", str(value)) for value in model.outputs),
    ]
    return [[name, text] for name, text in rows if text]


def _preprocessing(card: Card) -> list[list[str]]:
    """The fields of the card as text; labels have a list of their own."""
    from ...files.manifest import plain

    fields = {name: value for name, value in plain(card.to_mapping()).items() if name not in ("labels", "warnings")}
    return [[name.replace("_", " "), _text(value)] for name, value in fields.items() if value not in (None, "", [])]


def _bare(text: str, model: Model) -> str:
    """Without the folder of the model on this machine: sites are passed on."""
    folders = {model.path.parent, model.path.resolve().parent} if model.path is not None else set()
    for folder in sorted((str(folder) for folder in folders if folder.is_absolute()), key=len, reverse=True):
        text = text.replace(f"{folder}{os.sep}", "") if len(folder) > 1 else text
    return text


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_text(part)}" for name, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _layer(layer: SiteLayer) -> dict[str, Any]:
    from ...terminal.table import axes_text, spaced_shape

    field = layer.entry.last.receptive_field
    return {
        "name": layer.name,
        "slug": layer.slug,
        "chain": [[part.name, part.op] for part in layer.entry.chain],
        "module": layer.entry.first.module,
        "shape": spaced_shape(layer.entry.last.shape),
        "params": sum(part.params for part in layer.entry.chain),
        "field": None if field is None else f"{axes_text(field.size)} px, stride {axes_text(field.stride)}",
        "units": list(layer.units),
        "count": layer.count,
        "classes": layer.classes,
    }


def _graph(model: Model, layers: Sequence[SiteLayer]) -> dict[str, Any]:
    """Nodes in order, layers that share units as one, and edges between them by number; the inputs come first."""
    from ....engine.inspect.own_units import own_units
    from ...terminal.table import spaced_shape

    slugs = {part.output: layer.slug for layer in layers for part in layer.entry.chain}
    chains = {entry.first.output: entry.chain for entry in own_units(model)}
    nodes: list[dict[str, Any]] = []
    made: dict[str, int] = {}
    for value in model.inputs:
        made[value.name] = len(nodes)
        nodes.append({"name": value.name, "op": "input", "shape": spaced_shape(value.shape), "slug": None})
    edges: set[tuple[int, int]] = set()
    for layer in model.layers:
        if layer.output in made:
            continue
        chain = chains.get(layer.output, (layer,))
        number = len(nodes)
        for source in dict.fromkeys(name for part in chain for name in part.inputs):
            if source in made and made[source] != number:
                edges.add((made[source], number))
        made.update(dict.fromkeys(_outputs(model, chain), number))
        nodes.append(
            {
                "name": chain[-1].name,
                "op": " · ".join(part.op.rpartition(".")[2] for part in chain),
                "shape": spaced_shape(chain[-1].shape),
                "slug": slugs.get(chain[-1].output),
                "module": chain[0].module,
            }
        )
    return {"nodes": nodes, "edges": sorted(edges)}


def _outputs(model: Model, chain: Sequence[Layer]) -> list[str]:
    """Names of all that the nodes of a chain compute."""
    producers = [model.producer(part.output) for part in chain]
    return [name for node in producers if node is not None for name in node.output if name]
