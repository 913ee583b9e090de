"""What sources of images share: a frame, what is chosen of them, and how a source is described."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.preprocess.card import Card

Say = Callable[[str], None]


@dataclass(frozen=True)
class Picture:
    """An image that was read: `pixels` as the model's card reads them, uint8 (H, W, 3) RGB of 8 bits (see
    `files.photos`), the sha256 of its bytes, what should be said of it."""

    pixels: NDArray[Any]
    sha256: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Frame:
    """An image of a stream. path: what it is called, `clip.mp4#12`; read: decodes it for a model's card, or for none,
    and may raise ImageError. seconds: since the beginning of the stream.
    """

    path: Path
    read: Callable[[Card | None], Picture]
    seconds: float = 0.0


@dataclass(frozen=True)
class Selection:
    """What is taken of sources: folders with those in them, every so many-th image, at most `limit` images, `duration`
    seconds of each stream, and `crop` (x, y, width, height) in pixels of each image.
    """

    recursive: bool = False
    every: int = 1
    limit: int | None = None
    duration: float | None = None
    crop: tuple[int, int, int, int] | None = None

    def to_mapping(self) -> dict[str, object]:
        """For manifests: what decides the results of an image."""
        return {} if self.crop is None else {"crop": list(self.crop)}

    def lasts(self, seconds: float) -> bool:
        """Whether a frame at that time still belongs to what is taken."""
        return self.duration is None or seconds < self.duration

    def part(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The region of interest of an image. Raises ImageError where it is not inside."""
        if self.crop is None:
            return pixels
        x, y, width, height = self.crop
        rows, columns = pixels.shape[:2]
        if x + width > columns or y + height > rows:
            raise ImageError(
                f"--crop {x},{y},{width},{height} (x, y, width, height) is not inside the image of {columns} x {rows} "
                "pixels"
            )
        return pixels[y : y + height, x : x + width]

    def placed(self, e: Explanation, pixels: NDArray[np.uint8]) -> Explanation:
        """The explanation of the region on the whole image."""
        from ...engine.preprocess.geometry import within

        if self.crop is None or e.geometry is None:
            return e
        return replace(e, geometry=within(e.geometry, pixels.shape[:2], self.crop[:2]), underneath=lambda: pixels)


ALL = Selection()


@dataclass(frozen=True)
class Source:
    """A kind of source. form: how it is written; takes: whether a text is of it; paths: the files that it names, or
    frames: its images one after the other.
    """

    form: str
    about: str
    takes: Callable[[str], bool]
    paths: Callable[[str, Selection], Sequence[Path]] | None = None
    frames: Callable[[str, Selection, Say], Iterator[Frame]] | None = None
