"""What sinks share: the record of an image, and what a sink does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation


@dataclass(frozen=True)
class Record:
    """One image and what came out for it.

    id: tells images apart, also two of one name: the same after a restart. fields: plain data for JSON: path, sha256,
    status, prediction, maps, ... pixels: uint8 (H, W, 3) RGB, None where it could not be read. explanations: none where
    it failed, or the rule did not hold.
    """

    id: str
    path: Path
    fields: Mapping[str, Any]
    pixels: NDArray[np.uint8] | None = None
    explanations: Sequence[Explanation] = ()


class Sink(Protocol):
    """Takes records, one after the other, from one thread.

    A record may come twice where the process was killed: its `id` says so, and what it writes is the same. Raises
    OutputError where it cannot be taken.
    """

    def open(self) -> None:
        """Called once, before the first record."""

    def write(self, record: Record) -> None:
        """Take a record; it is safe on its way, or on disk, when this returns."""

    def close(self) -> None:
        """Called once, at the end."""


@runtime_checkable
class Alarmed(Protocol):
    """A sink that also says when drift crosses a limit, and when it is over."""

    def alarm(self, key: str, fields: Mapping[str, Any]) -> None:
        """Take an alarm: the id of the image it came with, and plain data. Raises OutputError."""
