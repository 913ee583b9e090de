"""What a method has emitted into a graph: the name of a value, and where on the input its numbers lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..emitter.emitter import Emitter

if TYPE_CHECKING:
    from ..attribution.maps import Display, Reduce


@dataclass(frozen=True)
class Emitted:
    """What a method has emitted, with the fields of `Maps` that matter in a graph: `EmittedGrid` or `EmittedInput`.

    value: the name of a float32 value.
    """

    value: str
    reduce: Reduce = "none"
    display: Display = "signed"
    layer: str | None = None
    reason: str | None = None

    def maps(self, op: Emitter, layout: str | None) -> str:
        """(N, C, h, w), C = 1 for class activation maps; where the input is no image, the shape of the input."""
        raise TypeError(f"{type(self).__name__} does not say where its values lie")

    def on_plane(self, layout: str | None) -> bool:
        """Whether the values lie on a plane that can be brought to another size."""
        return layout is not None


@dataclass(frozen=True)
class EmittedGrid(Emitted):
    """A value (N, h, w), cells that divide the input plane evenly."""

    def maps(self, op: Emitter, layout: str | None) -> str:
        return str(op.Unsqueeze(self.value, [1]))

    def on_plane(self, layout: str | None) -> bool:
        return True


@dataclass(frozen=True)
class EmittedInput(Emitted):
    """A value in the shape of the explained input."""

    def maps(self, op: Emitter, layout: str | None) -> str:
        if layout == "NHW":
            return str(op.Unsqueeze(self.value, [1]))
        if layout == "NHWC":
            return str(op.Transpose(self.value, perm=[0, 3, 1, 2]))
        return self.value
