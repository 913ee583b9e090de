"""The layers of a model as a tuple that can be read: by name, as text, as HTML."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from ..errors import UnknownName

if TYPE_CHECKING:
    from .layers import Layer

_TITLES = ("layer", "operator", "shape", "parameters", "MACs", "receptive field")
# Layers printed in a terminal or a notebook.
_MOST = 400


class Layers(tuple["Layer", ...]):
    """A tuple of layers in graph order. `layers["conv1"]` is the layer of that name."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """A layer by its place or its name, several by a slice. Raises UnknownName with the nearest names."""
        if isinstance(key, str):
            for layer in self:
                if key == layer.name:
                    return layer
            raise UnknownName("layer", key, [layer.name for layer in self])
        found = super().__getitem__(key)
        return Layers(found) if isinstance(key, slice) else found

    def __repr__(self) -> str:
        cells = [_TITLES, *(_cells(layer) for layer in self[:_MOST])]
        widths = [max(len(row[i]) for row in cells) for i in range(len(_TITLES))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([*lines, *_rest(self)])

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        head = "".join(f"<th>{title}</th>" for title in _TITLES)
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(layer))}</tr>" for layer in self[:_MOST]
        )
        return f"<table><tr>{head}</tr>{rows}</table>{''.join(_rest(self))}"


def _rest(layers: Layers) -> list[str]:
    return [f"... and {len(layers) - _MOST} more"] if len(layers) > _MOST else []


def _cells(layer: Layer) -> tuple[str, ...]:
    field = layer.receptive_field
    seen = "" if field is None else f"{_axes(field.size)} px, stride {_axes(field.stride)}"
    shape = "?" if layer.shape is None else " x ".join("?" if d is None else str(d) for d in layer.shape)
    macs = "?" if layer.macs is None else f"{layer.macs:,}"
    return (layer.name, layer.op, shape, f"{layer.params:,}", macs, seen)


def _axes(numbers: Any) -> str:
    texts = [f"{n:g}" for n in numbers]
    return texts[0] if len(set(texts)) == 1 else " x ".join(texts)


def html_of(layer: Layer) -> str:
    """One layer as a table."""
    rows = zip(_TITLES, _cells(layer), strict=True)
    return f"<table>{''.join(f'<tr><th>{t}</th><td>{html.escape(c)}</td></tr>' for t, c in rows)}</table>"
