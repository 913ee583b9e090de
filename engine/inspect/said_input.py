"""What a card says of an input, its kind and its axes, checked against the input of the model."""

from __future__ import annotations

from dataclasses import dataclass

from ..caches import of_model
from ..errors import CardError
from ..graph.model import Model
from ..proto.values import Value
from .recurrent_state import state_inputs

# The kinds that a card may name -> how many axes such inputs have, and which axes lie along places: those of the
# letters T, D, H, W.
CARD_KINDS: dict[str, tuple[range, str]] = {
    "image": (range(2, 5), "HW"),
    "text": (range(1, 3), "T"),
    "table": (range(1, 3), ""),
    "sound": (range(1, 4), "T"),
    "series": (range(1, 5), "T"),
    "volume": (range(4, 6), "DHW"),
}
SAID = "the card says so"
_USUAL = {("text", 2): "NT", ("sound", 2): "NT", ("table", 2): "NF", ("volume", 5): "NCDHW"}


@dataclass(frozen=True)
class SaidInput:
    """name: of the input. kind: one of CARD_KINDS. axes: a letter for each axis, "" where the card has none."""

    name: str
    kind: str
    axes: str

    @property
    def places(self) -> tuple[int, ...]:
        """The axes that neighbours lie along."""
        return tuple(axis for axis, letter in enumerate(self.axes) if letter in "TDHW")


@of_model
def said_input(model: Model) -> SaidInput | None:
    """The input that the fields `kind` and `axes` of the card describe; None where the card has neither.

    Raises CardError where they contradict each other or the model's input.
    """
    kind, axes = model.overrides.get("kind"), model.overrides.get("axes", "")
    if not kind and not axes:
        return None
    value = _described(model)
    kind = kind or _kind_of(axes, value)
    if value.rank is not None:
        _check_rank(value, value.rank, kind, axes)
        axes = axes or _USUAL.get((kind, value.rank), "")
    _check_axes(value, kind, axes)
    _check_type(value, kind)
    layout = model.overrides.get("layout")
    if kind == "image" and axes and layout not in (None, axes):
        raise CardError(f"the card has axes {axes} and layout {layout}, which both name the image's axes: give one")
    return SaidInput(value.name, kind, axes)


def _described(model: Model) -> Value:
    """The input that is meant. Raises CardError where several may be."""
    named = model.overrides.get("input")
    states = state_inputs(model)
    found = [value for value in model.inputs if named in (None, value.name) and value.name not in states]
    if len(found) != 1:
        names = ", ".join(value.name for value in found) or "none of that name"
        raise CardError(f"kind and axes of the card describe one input, the model has {names}: name it with input=")
    return found[0]


def _kind_of(axes: str, value: Value) -> str:
    """The kind that the axes alone say."""
    if "D" in axes:
        return "volume"
    if "H" in axes or "W" in axes:
        return "image"
    if "T" not in axes:
        return "table"
    if set(axes) <= set("NT1"):
        return "text" if value.dtype is not None and value.dtype.kind in "iu" else "sound"
    return "series"


def _check_rank(value: Value, rank: int, kind: str, axes: str) -> None:
    ranks = CARD_KINDS[kind][0]
    if rank not in ranks:
        raise CardError(f"the card's kind is {kind}, but the input {value} has {rank} axes, not {_span(ranks)}")
    if axes and len(axes) != rank:
        raise CardError(f"the card's axes {axes} are {len(axes)}, but the input {value} has {rank}")
    for letter, size in zip(axes, value.shape or (), strict=False):
        if letter == "1" and isinstance(size, int) and size != 1:
            raise CardError(f"the card's axes {axes} have an axis of size 1 where the input {value} has {size}")


def _span(ranks: range) -> str:
    return f"{ranks.start} to {ranks.stop - 1}"


def _check_axes(value: Value, kind: str, axes: str) -> None:
    due = CARD_KINDS[kind][1]
    there = "".join(letter for letter in axes if letter in "TDHW")
    if axes and (sorted(there) != sorted(due) or (kind == "table" and "F" not in axes)):
        needed = f"the axes {', '.join(due)}" if len(due) > 1 else f"the axis {due or 'F'}"
        raise CardError(
            f"the card's axes of the input {value.name!r} are {axes}, but its kind is {kind}: give {needed}"
        )
    if axes and kind != "image" and "N" in axes[1:]:
        raise CardError(f"the card's axes of the input {value.name!r} are {axes}: N, samples, comes first")


def _check_type(value: Value, kind: str) -> None:
    wanted = {"text": "iuO", "table": "fiubO"}.get(kind, "fiu")
    if value.dtype is not None and value.dtype.kind not in wanted:
        raise CardError(f"the card's kind is {kind}, but the input {value} holds {value.dtype}")
