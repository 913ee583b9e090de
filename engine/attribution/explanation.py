"""What an attribution method returns, and the explanation that is shown and saved.

Values stay as the method computed them: signed, float32, not normalised. Only pictures have a range; it is stated in
the explanation and in every manifest.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic
from ..errors import MethodError, OutputError
from ..preprocess.image import luminance
from ..runtime.ort import ort
from ..version import __version__
from . import notebook
from .colours import RGB, around_gray, colours_of, veiled
from .maps import Display, Reduce, reduced
from .plain import percent, plain
from .texts import TokenValue, Word, about_text, tokens_of, words_of

if TYPE_CHECKING:
    from ..graph.model import Model
    from ..preprocess.geometry import Geometry
    from ..sound.heard import HeardSound
    from ..targets.target import Target
    from ..text.reading import Reading
    from ..volumes.shown import ExplainedVolume

# Pixel-wise maps have single outliers: the colour scale ends at this percentile of the magnitudes.
PERCENTILE = 99.5
# The side that saved pictures have at most after small ones are enlarged.
_READABLE = 224
# The files of `save`: what they hold, how their names end.
_FILES = {"values": ".npy", "heatmap": "-heatmap.png", "overlay": "-overlay.png", "manifest": ".json"}
# Pixels up to which a map is put on its image in one go.
_WHOLE = 1 << 20


@dataclass(frozen=True)
class Explanation:
    """Why the network gave its answer, as a map.

    values: float32, signed, un-normalised, at the method's own resolution: (h, w) for class activation maps and
        occlusion, the shape of one sample of the input tensor, (C, H, W) for instance, for pixel-wise methods.
    target: what was explained, the predicted class filled in. score: its value, the model's own number (of a
        classifier's class usually the logit). probability: that class's, 0 to 1, None where the target is not one
        class. scores: those of all classes (C,), or the score alone where the target is no class.
    layer, reason: where the map was made and why, None for methods that explain at the input.
    channels: (3, h, w) float32, the map's red, green and blue over the input plane, None where it has none. in_colours:
        whether they are shown, around gray, where no colour map is asked for.
    extent: the sizes of a signal (T,) or a volume (D, H, W) along which the values lie, None elsewhere. extent_channel:
        the axis of `values` that holds channels, where there is one more than those.
    inputs: the input that is explained, or those that are explained together: see `parts`. split: their sizes along
        `split_axis` of `values`, where they lie next to each other. part_shapes: their shapes, where images differ in
        more than that: then the smaller ones are filled up.
    sound: of a sound its `HeardSound`: rate, times, frequencies, what is heard and what is left. volume: of a volume
        its `ExplainedVolume`: the heat on the voxels as given, its affine, the hottest place.
    warnings: what should be known before the map is believed. details: further numbers (completeness error, ...).

    It is a sequence of one, itself, so that what is written for `Explanations` takes it as well.
    """

    values: NDArray[np.float32]
    method: str
    options: Mapping[str, Any]
    target: Target
    score: float
    scores: NDArray[np.float32]
    layer: str | None
    reason: str | None
    warnings: tuple[str, ...]
    details: Mapping[str, Any]
    reduce: Reduce
    display: Display
    size: tuple[int, int] | None
    map: NDArray[np.float32] | None
    geometry: Geometry | None = None
    underneath: Callable[[], NDArray[np.uint8] | None] | None = field(default=None, repr=False)
    model: Model | None = None
    card: Mapping[str, Any] | None = None
    label: str = ""
    asked: str = "predicted"
    source: str | None = field(default=None)
    channels: NDArray[np.float32] | None = field(default=None, repr=False)
    in_colours: bool = False
    probability: float | None = None
    inputs: tuple[str, ...] = ()
    extent: tuple[int, ...] | None = None
    extent_channel: int = 0
    split: tuple[int, ...] = ()
    split_axis: int = 0
    part_shapes: tuple[tuple[int, ...], ...] = ()
    reading: Reading | None = field(default=None, repr=False)
    sound: HeardSound | None = field(default=None, repr=False)
    volume: ExplainedVolume | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Explanation]:
        yield self

    def __getitem__(self, index: int) -> Explanation:
        return (self,)[index]

    def __repr__(self) -> str:
        where = f" at {self.layer}" if self.layer else ""
        return f"<{self.method}{where} of {self.label}: {list(self.values.shape)}, {self.score_text}>"

    @property
    def parts(self) -> dict[str, NDArray[np.float32]]:
        """input -> its part of `values`: of a table whose columns are inputs of their own, one number each; of images
        or texts explained together, the values of each, of maps coarser than the input those over the model's plane.
        """
        if self.split:
            whole = self.values.shape[self.split_axis] == sum(self.split)
            found, axis = (self.values, self.split_axis) if whole else (self._on_plane(), 1)
            parts = np.split(found, np.cumsum(self.split)[:-1], axis)
            if self.part_shapes:
                sizes = zip(parts, self.part_shapes, strict=True)
                parts = [part[tuple(slice(n) for n in shape)] for part, shape in sizes]
            return dict(zip(self.inputs, parts, strict=True))
        if len(self.inputs) == 1:
            return {self.inputs[0]: self.values}
        return {name: np.asarray(value) for name, value in zip(self.inputs, self.values, strict=True)}

    def _on_plane(self) -> NDArray[np.float32]:
        """The map over the plane of the input."""
        return replace(self, geometry=None).heatmap

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """The words of the text that is explained, each with its value; empty where the input is no text."""
        return () if self.reading is None else words_of(self)

    @cached_property
    def tokens(self) -> tuple[TokenValue, ...]:
        """The tokens that the model reads of the text, each with its value; empty where the method hides words."""
        return () if self.reading is None else tokens_of(self)

    @property
    def score_text(self) -> str:
        """The score in words, with the class's probability: "score 9.123, probability 99.8 %"."""
        chance = "" if self.probability is None else f", probability {percent(self.probability)}"
        return f"score {self.score:.4g}{chance}"

    @cached_property
    def image(self) -> NDArray[np.uint8] | None:
        """What lies under the map, uint8 (H, W, 3) RGB: the original image, or what the tensor shows; None without."""
        return None if self.underneath is None else self.underneath()

    @cached_property
    def about_model(self) -> Mapping[str, str | None]:
        """The model's "path" and "sha256", None each where it has none or is not known."""
        if self.model is None:
            return {"path": None, "sha256": None}
        return {"path": str(self.model.path) if self.model.path else None, "sha256": self.model.sha256}

    @cached_property
    def heatmap(self) -> NDArray[np.float32]:
        """float32 (H, W) on the original image's pixels (the tensor's, where one was given), not normalised.

        Channels are reduced as `reduce` says. Pixels that the model does not see are 0. Of a signal (T,), of a volume
        (D, H, W), linear between the cells of a coarser map. Raises MethodError where the input is none of these.
        """
        if self.size is None and self.extent is not None:
            return self._along_input(self.extent)
        return self._on_image(0.0)

    def _along_input(self, extent: tuple[int, ...]) -> NDArray[np.float32]:
        """The values over the places of a signal or a volume."""
        from ...kernels.upsample import upsample_along

        if self.values.ndim > len(extent):
            return reduced(self.values, self.extent_channel, "max-abs" if self.reduce == "none" else self.reduce)
        return upsample_along(self.values, extent)

    def _on_image(
        self, unseen: float, rows: tuple[int, int] | None = None, map: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """The map, or `map`, on the image's pixels, or on some rows of it, `unseen` where the model does not look."""
        from ...kernels.upsample import upsample

        map = self.map if map is None else map
        if map is None:
            raise MethodError(
                f"values of shape {list(self.values.shape)} over what is not an image make no picture: use `values`"
            )
        if self.geometry is not None:
            return self.geometry.to_image(map, fill=unseen, rows=rows)
        whole = map if self.size is None or map.shape[-2:] == self.size else upsample(map, self.size)
        return whole if rows is None else whole[..., slice(*rows), :]

    @property
    def _height_width(self) -> tuple[int, int]:
        """Of pictures of the map."""
        if self.geometry is not None:
            return self.geometry.original
        if self.size is not None or self.map is None:
            return self.size or (0, 0)
        return self.map.shape[0], self.map.shape[1]

    @property
    def _step(self) -> int:
        """Rows of a band."""
        height, width = self._height_width
        return height if height * width <= _WHOLE or self.geometry is None else max(1, _WHOLE // width)

    def bands(self, unseen: float = 0.0) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The heatmap some rows at a time, (rows, float32 (rows, W)): an image may be too large for all its values.

        unseen: the value of pixels that the model does not see. Raises MethodError as `heatmap` does.
        """
        height, step = self._height_width[0], self._step
        for start in range(0, height, step):
            stop = min(height, start + step)
            yield slice(start, stop), self._on_image(unseen, (start, stop))

    @cached_property
    def range(self) -> tuple[float, float]:
        """The values at both ends of the colour scale.

        Signed maps: (-m, m); positive ones: (0, m). m is the greatest magnitude, of positive maps that of what is above
        0 (if anything is), for pixel-wise maps the 99.5th percentile.
        """
        from ...kernels import normalize

        if self.map is None:
            self._on_image(0.0)  # raises
        # It is gone through several times: in one piece, where that is not too large, it is made once.
        whole = [heat for _, heat in self.bands(0.0)] if self._step >= self._height_width[0] else None

        def heats() -> Iterator[NDArray[np.float32]]:
            return (heat for _, heat in self.bands(0.0)) if whole is None else iter(whole)

        clipped = self.display == "positive" and any((heat > 0).any() for heat in heats())

        def parts() -> Iterator[NDArray[np.float32]]:
            return (np.maximum(heat, 0) if clipped else heat for heat in heats())

        if self.reduce != "none":
            low, high = normalize.percentile_of_parts(parts, PERCENTILE)
        else:
            low, high = normalize.symmetric_of_parts(parts)
        return (0.0, high) if self.display == "positive" else (low, high)

    @property
    def colormap(self) -> str:
        """The colour map that is used where none is asked for; "rgb" where the map's own channels are its colours."""
        from ...kernels import colormap

        if self.in_colours and self.channels is not None:
            return RGB
        return colormap.DIVERGING if self.display == "signed" else colormap.SEQUENTIAL

    def picture(self, colormap: str | None = None, range: tuple[float, float] | None = None) -> NDArray[np.uint8]:
        """The heatmap in colours, uint8 (H, W, 3) RGB; gray where the model does not look.

        colormap: a table's name, or "rgb" for the map's channels as red, green and blue around gray; by default
        `colormap`. Raises UnknownName for another name, MethodError for "rgb" where the map has no such channels.
        """
        from ...kernels import colormap as colours

        name, (lo, hi) = colormap or self.colormap, range or self.range
        out = np.empty((*self._height_width, 3), np.uint8)
        for rows, heat in self.bands(np.nan):
            out[rows] = self._reconstruction(rows, hi) if name == RGB else colours.apply(heat, colours_of(name), lo, hi)
        return out

    def overlay(
        self, alpha: float = 0.6, colormap: str | None = None, range: tuple[float, float] | None = None
    ) -> NDArray[np.uint8]:
        """The heatmap's colours over the image, uint8 (H, W, 3) RGB.

        alpha: share of the colours, 0 to 1, where there is heat; it falls to 0 with the value, so that the image is
        seen where there is none. range: values at the ends of the colour scale, by default `range`. What the model
        does not see is veiled: gray, of little contrast. Under a signed map the image is gray, so that all colours are
        the map's. In the colours "rgb" the map is a picture itself and stands in place of the image. Where a tensor was
        given, the map lies over what it shows.

        Raises MethodError for another alpha, or as `picture` does, UnknownName for an unknown colour map.
        """
        lo, hi = range or self.range
        if not (0 <= alpha <= 1 and np.isfinite([lo, hi]).all() and lo <= hi):
            raise MethodError(f"no overlay with alpha {alpha}, colours {lo} to {hi}: alpha is 0 to 1")
        if self.map is None:
            self._on_image(np.nan)  # raises
        name = colormap or self.colormap
        image = self.image if self.image is not None else np.full((*self._height_width, 3), 128, np.uint8)
        out = np.empty(image.shape, np.uint8)
        for rows, heat in self.bands(np.nan):
            if name == RGB:
                out[rows] = self._reconstruction(rows, hi)
            else:
                self._lay(heat, image[rows], out[rows], alpha, colours_of(name), (lo, hi))
            for part in () if self.geometry is None else self.geometry.unseen((rows.start, rows.stop)):
                out[rows][part] = veiled(image[rows][part])
        return out

    def _lay(
        self,
        heat: NDArray[np.float32],
        image: NDArray[np.uint8],
        out: NDArray[np.uint8],
        alpha: float,
        table: NDArray[np.uint8],
        range: tuple[float, float],
    ) -> None:
        """The colours of a band of the map over its image, into `out`."""
        from ...kernels import colormap as colours
        from ...kernels.render import render

        lo, hi = range
        if self.display == "positive":
            render(heat, image, table, lo, hi, alpha, "nearest", alpha_by_value=True, out=out)
            return
        # Colours are near white around 0: they are mixed in fully from a quarter of the range on.
        most = max(abs(lo), abs(hi)) or 1.0
        share = alpha * np.minimum(np.abs(np.nan_to_num(heat)) * (4 / most), 1)[..., None].astype(np.float32)
        coloured = colours.apply(heat, table, lo, hi)
        out[...] = np.rint(luminance(image)[..., None] * (1 - share) + coloured * share)

    def _reconstruction(self, rows: slice, most: float) -> NDArray[np.uint8]:
        """Rows of the map's channels around gray."""
        if self.channels is None:
            raise MethodError(f"the map of {self.method} has no red, green and blue: choose another colour map")
        return around_gray(self._on_image(0.0, (rows.start, rows.stop), self.channels), most)

    def manifest(self) -> dict[str, Any]:
        """Everything needed to know how the map came about, as JSON-like data."""
        import onnx

        lo, hi = self.range if self.map is not None else (None, None)
        return {
            "method": self.method,
            "options": {name: plain(value, hashed=False) for name, value in self.options.items()},
            "target": {"asked": self.asked, "explained": str(self.target), "label": self.label},
            "score": plain(self.score),
            "probability": plain(self.probability),
            "layer": self.layer,
            "layer_reason": self.reason,
            "values": {"shape": list(self.values.shape), "dtype": "float32", "channels": self.reduce},
            "display": {"kind": self.display, "colormap": self.colormap, "lowest": lo, "highest": hi},
            **({} if self.reading is None else {"text": about_text(self)}),
            "details": {name: plain(value, hashed=False) for name, value in self.details.items()},
            "warnings": list(self.warnings),
            "model": self.about_model,
            "image": self.source,
            "geometry": self.geometry.to_mapping() if self.geometry is not None else None,
            "preprocessing": None if self.card is None else {k: v for k, v in self.card.items() if k != "labels"},
            "versions": {
                "onnxray": __version__,
                "onnx": onnx.__version__,
                "onnxruntime": ort.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }

    def save(self, dir: str | Path, name: str | None = None) -> dict[str, Path]:
        """Write values (.npy), heatmap and overlay (PNG) and the manifest (JSON) into a folder, each whole or not at
        all.

        The files are called as those of `onnxray explain`: `NAME.npy`, `NAME-heatmap.png`, `NAME-overlay.png`, and
        `NAME.json`; NAME is `name`, by default the method. Pictures of fewer than 112 pixels are enlarged, each pixel
        to a square, as the manifest's `enlarged` says. The manifest is written last: where it is, the rest is
        complete. Returns the paths of "values", "heatmap", "overlay" and "manifest".

        Raises OutputError.
        """
        from .png import write

        folder, name = Path(dir), self.method if name is None else name
        if not name or Path(name).name != name:
            raise OutputError(f"{name!r} is not a file name: give one without folders")
        paths = {kind: folder / f"{name}{end}" for kind, end in _FILES.items()}
        factor = max(1, _READABLE // max(1, *self._height_width))
        about = {**self.manifest(), **({"enlarged": factor} if factor > 1 else {})}
        with atomic(paths["values"]) as temporary, temporary.open("wb") as file:
            np.save(file, self.values)
        if self.map is not None:
            write(paths["heatmap"], _enlarged(self.picture(), factor))
            write(paths["overlay"], _enlarged(self.overlay(), factor))
        else:
            del paths["heatmap"], paths["overlay"]
        with atomic(paths["manifest"]) as temporary:
            temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return paths

    def show(self) -> None:
        """Show the image and the overlay with their colour scale: in a notebook below the cell, else in the browser.

        Raises OutputError where there is neither.
        """
        notebook.show([self])

    def plot(self, ax: Any = None, alpha: float = 0.6, colormap: str | None = None) -> Any:
        """Draw the overlay with a colour bar into the matplotlib axes `ax`, new ones by default; returns the axes.

        Raises OutputError where matplotlib is not installed, MethodError where the input is no image.
        """
        return notebook.plot(self, ax, alpha, colormap)

    def _repr_html_(self) -> str:
        """The image and the overlay, what was explained, and the colour scale, for notebooks."""
        return notebook.html_of(self)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model, of which path and hash stay: pickles hold the image and the map, no weights."""
        kept = {name: value for name, value in self.__dict__.items() if name != "heatmap"}
        kept |= {"model": None, "underneath": None, "image": self.image, "about_model": self.about_model}
        return kept


def _enlarged(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Each pixel as a square of `factor` pixels."""
    return image if factor == 1 else np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def with_source(explanation: Explanation, source: str, notes: Sequence[str] = ()) -> Explanation:
    """The same with the name of the file that the image came from, and what is to be said of that."""
    return replace(explanation, source=source, warnings=(*explanation.warnings, *notes))
