"""`dream`: DeepDream of a photograph or of noise, by a layer, several, a channel, a class, or a second image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attribution.png import write
from .errors import MethodError, ShapeError
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .inspect.layers import Layer
from .load import load
from .optimize.canvas import Canvas, canvas_of, labels_of
from .optimize.dream.balance import balanced
from .optimize.dream.guide import features_of
from .optimize.dream.octaves import Dreamed, OnStep, Picture, Size, dreamed
from .optimize.dream.recipe import BLURS, DreamRecipe
from .optimize.dream.slope import Slope
from .optimize.dream.start import noise, picture_of
from .optimize.dream.zoom import Zoom, frames_after, zoom_of
from .optimize.objective import Objective
from .optimize.objectives.guide import Guide
from .optimize.units import objectives_of
from .preprocess.card import LOAD_OPTIONS
from .visualize import Progress, Visualization

NOISE = "noise"


@dataclass(frozen=True)
class Dream(Visualization):
    """A dream: `images` has one picture, uint8 (1, H, W, 3); `activations` its objective.

    Further attributes: starts (1,): the objective before the first step. sizes: (height, width) of every octave.
    frames: uint8 (F, H, W, 3) of a zoom, the first the picture itself; none without one.
    """

    starts: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    sizes: tuple[Size, ...] = ()
    frames: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))

    def manifest(self) -> dict[str, Any]:
        """Everything needed to make the picture again, as JSON-like data."""
        found = super().manifest()
        return {**found, "starts": [float(v) for v in self.starts], "octaves": [list(s) for s in self.sizes]}

    def save(self, dir: str | Path) -> dict[str, Path]:
        """Write the frames of a zoom as `frame-0000.png`, ..., and everything else as `Visualization.save` does.

        Returns the paths. Raises OutputError.
        """
        frames = {f"frame-{n:04d}": Path(dir) / f"frame-{n:04d}.png" for n in range(len(self.frames))}
        for pixels, path in zip(self.frames, frames.values(), strict=True):
            write(path, pixels)
        return {**frames, **super().save(dir)}


@dataclass(frozen=True)
class Dreamer:
    """A model that dreams: `slope_of` and `dream`, for pictures of any size."""

    model: Model
    canvas: Canvas
    labels: tuple[str, ...] | None
    recipe: DreamRecipe
    runtime: RunOptions

    def slope(self, objective: Objective, size: Size) -> Slope:
        """The gradient of an objective for pictures up to `size`; in tiles of the model's own size where it is fixed.

        Raises UnknownName, TargetError, GradientError and its subclasses, ModelError, and ShapeError where the picture
        is smaller than the only size that the network takes.
        """
        recipe = self.recipe
        slope = Slope(self.model, self.canvas, objective, self.labels, recipe.tile, recipe.overlap, self.runtime)
        try:
            slope.check(size)
        except ShapeError as error:
            own = replace(slope, fixed=self.canvas.size)
            if self.canvas.size == slope.window(size):
                raise
            try:
                own.network(self.canvas.size)
            except ShapeError:
                raise error from None
            if any(a < b for a, b in zip(size, self.canvas.size, strict=True)):
                height, width = self.canvas.size
                raise ShapeError(
                    f"the image of {size[0]}x{size[1]} pixels is too small for the network, which takes only "
                    f"{height}x{width} ({error}): give a larger one, or size="
                ) from None
            return own
        return slope

    def objective(self, objectives: Sequence[Objective], weights: Sequence[float], picture: Picture) -> Objective:
        """One for all: see `balanced`."""
        return balanced(objectives, weights, picture, lambda o: self.slope(o, _size(picture)))

    def guided(self, layer: str, guide: Any) -> Guide:
        """The objective of guided dreaming. Raises UnknownName, TargetError, ShapeError."""
        return Guide(layer, features_of(self.model, self.canvas, layer, guide, self.runtime))

    def start(self, image: Any, size: Size | None) -> Picture:
        """An image, or noise for None and "noise", as a picture. Raises ShapeError."""
        if image is None or (isinstance(image, str) and image == NOISE):
            return noise(self.canvas, size or self.canvas.size, self.recipe.seed)
        return picture_of(image, self.canvas, size)

    def dream(self, objective: Objective, picture: Picture, on_step: OnStep | None = None) -> tuple[Slope, Dreamed]:
        """Raises what `slope` and `dreamed` raise."""
        slope = self.slope(objective, _size(picture))
        return slope, dreamed(slope, picture, self.recipe, on_step)


def _size(picture: Picture) -> Size:
    return picture.shape[1], picture.shape[2]


def dreamer_of(
    model: Source, recipe: DreamRecipe, *, providers: Any = None, threads: int | None = None, **card: Any
) -> Dreamer:
    """A dreamer of a model. Raises MethodError for an unknown option, ModelError, CardError."""
    fields = {name: value for name, value in card.items() if name in LOAD_OPTIONS and name != "size"}
    unknown = [name for name in card if name not in fields]
    if unknown:
        raise MethodError(f"dream has no option {unknown[0]!r}: see help(onnxray.dream)")
    opened = load(model, **fields)
    return Dreamer(
        opened, canvas_of(opened), labels_of(opened), recipe, RunOptions(providers=providers, threads=threads)
    )


def dream(
    model: Source,
    image: Any = None,
    layer: str | Layer | Sequence[str | Layer] | Mapping[str, float] | None = None,
    channel: int | None = None,
    target: Any = None,
    *,
    objective: Objective | str | Sequence[Objective | str] | None = None,
    guide: Any = None,
    weights: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    octaves: int | None = None,
    ratio: float = 1.4,
    steps: int = 10,
    rate: float = 0.0045,
    jitter: int = 16,
    blurs: Sequence[float] = BLURS,
    colours: bool = True,
    tile: int = 512,
    overlap: int = 32,
    seed: int = 0,
    zoom: int | None = None,
    zoom_factor: float = 1.04,
    zoom_turn: float = 0.5,
    zoom_octaves: int = 2,
    zoom_steps: int = 4,
    progress: Progress | None = None,
    providers: Any = None,
    threads: int | None = None,
    **card: Any,
) -> Dream:
    """Change an image until a network sees more of what it sees in it (A. Mordvintsev, C. Olah and M. Tyka, 2015).

    image: uint8 (H, W, 3) RGB or (H, W) of any size, numbers in 0..1 of shape (C, H, W), or None or "noise" for noise.
    layer: whose activations grow: low layers draw strokes, high ones parts of objects. A list, or a mapping from layer
        to weight, pulls by several at once, each as its weight says. channel: only this one of each layer.
    target: a class, by index or label, or a list of them. objective: as in `visualize`, in place of layer and target.
    guide: a second image; the places of `layer` become like its places that they are most like.
    weights: of all layers, classes and objectives, in this order; by default those of the mapping, else 1.
    size: side, or (height, width), that the image is brought to; default: its own, for noise the model's.
    octaves, ratio, steps: the picture is dreamed at so many sizes (default: up to 4), each `ratio` times the one
        before, with `steps` steps. rate: mean change of a value in a step, on the scale 0..1.
    jitter: random shifts in pixels. blurs: in pixels; the gradient is the sum of its Gaussian blurs. colours: whether
        the gradient is multiplied by the covariance of photographs' colours.
    tile, overlap: larger pictures are seen in tiles of this side; memory then does not depend on the picture's size but
        for a few copies of it. A network that takes one size only sees tiles of that size.
    seed: of noise and shifts; the same seed gives the same picture.
    zoom: so many frames after the picture, each the last one magnified by `zoom_factor` and turned by `zoom_turn`
        degrees, dreamed again in `zoom_octaves` octaves of `zoom_steps` steps (endless zoom).
    progress: called with steps done, steps of the picture, and the objective's value, before a zoom.
    card: fields of the model card, as `load` takes them.

    Raises UnknownName (layer, label), TargetError (channel, class), MethodError (options), ShapeError (an image that is
    too small for octaves or network), GradientError and its subclasses (no gradient), ModelError, CardError.
    """
    recipe = DreamRecipe(
        octaves=octaves,
        ratio=ratio,
        steps=steps,
        rate=rate,
        jitter=jitter,
        blurs=tuple(blurs),
        colours=colours,
        tile=tile,
        overlap=overlap,
        seed=seed,
    )
    further = zoom_of(zoom, zoom_factor, zoom_turn, zoom_octaves, zoom_steps)
    dreamer = dreamer_of(model, recipe, providers=providers, threads=threads, **card)
    picture = dreamer.start(image, (size, size) if isinstance(size, int) else size)
    if further is not None:
        further.check(_size(picture))
    asked, own = _asked(dreamer, layer, channel, target, objective, guide)
    whole = dreamer.objective(asked, own if weights is None else weights, picture)
    slope, made = dreamer.dream(whole, picture, _reporter(progress))
    found = result(dreamer, whole, slope, made)
    return found if further is None else replace(found, frames=_zoomed(dreamer, slope, made, further))


def _zoomed(dreamer: Dreamer, slope: Slope, made: Dreamed, zoom: Zoom) -> NDArray[np.uint8]:
    """All frames, (F, H, W, 3)."""
    shown = dreamer.canvas.shown
    after = frames_after(slope, made.picture, dreamer.recipe, zoom)
    return np.concatenate([shown(made.picture[None]), *(shown(found.picture[None]) for _, found in after)])


def _asked(
    dreamer: Dreamer,
    layer: str | Layer | Sequence[str | Layer] | Mapping[str, float] | None,
    channel: int | None,
    target: Any,
    objective: Objective | str | Sequence[Objective | str] | None,
    guide: Any,
) -> tuple[list[Objective], list[float]]:
    """Objectives and their weights. Raises MethodError where they do not fit, and as `objectives_of`."""
    layers = [_name(part) for part in ([layer] if isinstance(layer, str | Layer) else layer or ())]
    weights = [float(w) for w in layer.values()] if isinstance(layer, Mapping) else [1.0] * len(layers)
    if guide is not None:
        if not layers or channel is not None or target is not None or objective is not None:
            raise MethodError("a guide is followed in a layer: give layer= and neither channel, target nor objective")
        return [dreamer.guided(name, guide) for name in layers], weights
    asked = objectives_of(dreamer.model, layer=layers or None, channel=channel, target=target, objective=objective)
    return asked, weights + [1.0] * (len(asked) - len(weights))


def _name(layer: str | Layer) -> str:
    return layer.name if isinstance(layer, Layer) else layer


def _reporter(progress: Progress | None) -> OnStep | None:
    if progress is None:
        return None

    def report(step: int, steps: int, score: float) -> None:
        progress(step + 1, steps, score)

    return report


def result(dreamer: Dreamer, objective: Objective, slope: Slope, made: Dreamed) -> Dream:
    """What was dreamed, as the public result."""
    value = np.array([made.after], np.float32)
    return Dream(
        images=dreamer.canvas.shown(made.picture[None]),
        pictures=made.picture[None],
        objectives=(str(objective),),
        activations=value,
        before=value,
        after=value,
        history=(made.history,),
        transparency=np.zeros((1, *_size(made.picture)), np.float32),
        options=options_of(dreamer.recipe),
        model=dreamer.model,
        warnings=warnings_of(slope),
        starts=np.array([made.before], np.float32),
        sizes=made.sizes,
    )


def options_of(recipe: DreamRecipe) -> dict[str, Any]:
    """How a picture is dreamed, as JSON-like data."""
    return {**vars(recipe), "blurs": list(recipe.blurs)}


def warnings_of(slope: Slope) -> tuple[str, ...]:
    """What is doubtful about a dream."""
    if slope.fixed is None:
        return ()
    size = "x".join(map(str, slope.fixed))
    return (f"the network takes {size} pixels only: the picture is dreamed in tiles of that size",)
