"""The values at the ends of the colours of maps: each map's own, those of all images of a run, or two given numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.errors import OnnxrayError

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.preprocess.card import Card
    from .over_images import Pixels

EACH, SHARED = "each", "shared"

Ends = tuple[float, float]

# Bytes of maps that are kept after the first look at the images, so that these are not explained twice.
_MOST_BYTES = 1 << 28
# Ranges of one method that differ by more are worth a word.
_FAR_APART = 5.0


@dataclass
class Ranges:
    """asked: `each`, `shared`, or the values at both ends."""

    asked: str | Ends
    _shared: dict[tuple[str, str], Ends] = field(default_factory=dict)
    _kept: dict[Path, list[Explanation]] = field(default_factory=dict)
    _own: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def look_at(
        self,
        paths: Sequence[Path],
        explanations: Callable[[Pixels, dict[str, str], Path], Iterable[Explanation]],
        card: Card | None = None,
    ) -> None:
        """Explain every image once for the ranges. What fails here fails again at the second, which says so."""
        from ..files.photos import read_photo

        room = _MOST_BYTES
        for path in paths:
            try:
                found = list(explanations(read_photo(path, card), {}, path))
            except OnnxrayError:
                continue
            for e in found:
                key = (e.method, e.asked)
                known = self._shared.get(key, e.range)
                self._shared[key] = min(known[0], e.range[0]), max(known[1], e.range[1])
            room -= sum(map(_size, found))
            if room >= 0:
                self._kept[path] = [replace(e, underneath=None) for e in found]

    def kept(self, path: Path, pixels: Pixels) -> Iterator[Explanation] | None:
        """The explanations of an image that the first look kept; None where they have to be made again."""
        found = self._kept.pop(path, None)
        return None if found is None else (replace(e, underneath=lambda: pixels) for e in found)

    def of(self, e: Explanation) -> Ends | None:
        """The values at the ends of a map's colours, None for its own. Around 0, of signed maps."""
        if self.asked == EACH or e.map is None:
            return None
        low, high = self._shared.get((e.method, e.asked), e.range) if isinstance(self.asked, str) else self.asked
        if e.display == "signed":
            most = max(abs(low), abs(high))
            return -most, most
        return low, high

    def check(self, entry: dict[str, Any]) -> None:
        """Raises ValueError for an entry of an earlier run whose pictures have other ends than this run's."""
        if self.asked != SHARED:
            return
        key = (entry["method"], entry["target"]["asked"])
        if key in self._shared and (entry["display"]["lowest"], entry["display"]["highest"]) != self._shared[key]:
            raise ValueError("the images of this run share other colours")

    def note(self, path: Path, e: Explanation) -> None:
        """Remember how far the colours of a map go."""
        if self.asked == EACH and e.map is not None and np.isfinite(e.range[1]):
            self._own.setdefault((e.method, e.asked), {})[path.name] = float(e.range[1])

    def differ(self) -> str:
        """What to say of images whose maps have very different ranges; "" where they have not."""
        for (method, _), tops in self._own.items():
            least, most = min(sorted(tops), key=tops.__getitem__), max(sorted(tops), key=tops.__getitem__)
            if tops[most] > _FAR_APART * max(tops[least], 0.0):
                ends = f"{tops[least]:.3g} in {least}, {tops[most]:.3g} in {most}"
                return f"each image has its own range of colours ({method}: {ends}): --range shared compares them"
        return ""


def _size(e: Explanation) -> int:
    """Bytes of an explanation's arrays."""
    arrays = [e.values, e.map, e.channels, *e.details.values()]
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
