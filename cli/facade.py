"""What of the public Python interface takes files as well as arrays: decodes, then calls the engine."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..engine import activations as _engine_activations
from ..engine.attribution.explanation import Explanation, with_source
from ..engine.attribution.explanations import Explanations
from ..engine.attribution.photos import card_or_none
from ..engine.attribution.texts import read_given
from ..engine.detection.detections import Detections
from ..engine.dream import NOISE, Dream
from ..engine.dream import dream as _dream
from ..engine.errors import UnknownName
from ..engine.explain import explain as _explain
from ..engine.graph.model import Source
from ..engine.health import health as _health
from ..engine.inference.batches import RunOptions
from ..engine.inspect.layers import Layer
from ..engine.load import load
from ..engine.methods.registry import Method
from ..engine.novelty.fit import fit as _fit
from ..engine.novelty.memory import Novelty as _Novelty
from ..engine.novelty.memory import NoveltyScore
from ..engine.pipeline.drift import WINDOW, Distance, Gathering, Looking, Reference, Window, load_reference
from ..engine.pipeline.pipeline import Given
from ..engine.pipeline.pipeline import Pipeline as _Pipeline
from ..engine.predict import Prediction
from ..engine.predict import detect as _detect
from ..engine.predict import predict as _predict
from ..engine.preprocess.card import LOAD_OPTIONS, Card
from ..engine.runtime.providers import Providers
from ..engine.survey.health import Health
from ..engine.survey.pictures import Picture
from ..engine.survey.store import kind_of
from ..engine.survey.top import Top
from ..engine.targets.target import Target
from ..engine.top import top as _top
from ..engine.visualize import Visualization
from ..engine.visualize import visualize as _visualize
from .files.given import decoded, given_of, loaded, pixels_of
from .files.surveyed import surveyed

F = TypeVar("F", bound=Callable[..., Any])


def _help_of(engine: Callable[..., Any]) -> Callable[[F], F]:
    """Decorator: the help is that of the engine's function, then what the function itself says."""

    def documented(function: F) -> F:
        parts = (inspect.cleandoc(part.__doc__ or "") for part in (engine, function))
        function.__doc__ = "\n\n".join(parts)
        return function

    return documented


def explain(
    model: Source,
    image: Any,
    method: str | Method | type[Method] | None = None,
    target: Any = None,
    layer: str | Layer | Sequence[str | Layer] | None = None,
    at: str | None = None,
    **options: Any,
) -> Explanation | Explanations:
    """Show which parts of `image` the answer of `model` depends on.

    model: a `Model`, a path, a name of `onnxray models list` ("builtin"), bytes, or an onnx.ModelProto.
    image: the path of an image file; a Pillow image; uint8 (H, W, 3) RGB, (H, W, 4) or (H, W), which is prepared as the
        model's card says, as are uint16 and, where the card names bands, (H, W, bands); several of these in a list, or
        uint8 (N, H, W, 3); or a ready tensor in the model's layout, (N, ...) or one sample; or {input name: one of
        these} for several inputs, of which one is explained: the option `input` names it, else it is the one that takes
        images, else the first one of floats. Given tensors, everything is in the tensor's units and pixels. For a model
        of texts, a str (the text itself; a `Path` is a file that holds one), a `Text`, or several in a list. For a
        model of sound, a `Sound` or the path of a WAV, FLAC or OGG file; for one of volumes, a `Volume`, or the path of
        a NIfTI file or of a folder of DICOM slices. For a model of the rows of a table, a `Table`, a data frame, or the
        path of a .csv file; for one of series, a `Series` or such a path.
    method: a name of `onnxray.methods()`, another name that it is known by ("GradCAM", "ig"), its class or an instance;
        by default grad-cam, of boxes of a detector hires-cam, of texts and sounds integrated-gradients, of tables
        tree-shap or kernel-shap.
    target: None (the predicted class), a class index, a label, a text such as "top:3", or a `Target`; or a list of
        these: one for each image of several, several for one image alone (`Target.several` for all of every image).
    layer: for methods that work at a layer: its name, that of its output value or of its module ("layer4.1"), a
        `Layer`, or several; by default it is chosen, with the reason in the result.
    at: a value inside the model to explain by in place of its input: embeddings of token ids, a spectrogram that the
        model computes. It takes the value that `image` gives it; everything that does not go through it stays.
    options: the method's own; fields of the model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, ...),
        `output` and `scores` to override what is found; `providers` (a name, "cuda", or a list of names and of pairs
        (name, {option: value})), `threads` and `batch` (maximum batch size); `progress`, a function that long methods
        call with the number of runs done and the number of all runs; `half=True` for float16 (docs/gpu.md).

    Returns an Explanation: `values` float32, signed, not normalised; `heatmap` float32 (H, W) on the image's pixels.
    A list of images, a batch, and several targets give Explanations.

    Raises ImageError and TextError (what cannot be read), UnknownName (method, option, layer, label), MethodError,
    TargetError, ShapeError, CardError, ModelError, GradientError and its subclasses.
    """
    model, given, options = given_of(model, image, options)
    several = isinstance(target, list | tuple)
    target = [_opened(one, model, options) for one in target] if several else _opened(target, model, options)
    found = _explain(model, given.value, method, target, layer, at, **options)
    # Sample by sample, as many explanations of each as there are targets.
    each = max(1, len(found) // given.count)
    parts = [with_source(e, *given.files[i // each]) if i // each in given.files else e for i, e in enumerate(found)]
    one = isinstance(found, Explanation) and not given.listed
    return parts[0] if one else Explanations(parts)


def _opened(target: Any, model: Source, options: Mapping[str, Any]) -> Any:
    """A target with what its files hold, read as the model's card says; anything else as it is."""
    target = Target.parse(target) if isinstance(target, str) else target
    return target.opened(functools.partial(_read, model, options)) if isinstance(target, Target) else target


def predict(model: Source, images: Any, top: int = 5, **options: Any) -> Any:
    """Classify images: the most probable classes of each, or the numbers that a model answers with.

    model, images: as `explain` takes them. top: how many classes. options: fields of the model card; `providers`,
    `threads` and `batch` (maximum batch size).

    Returns a Prediction of one image, a list of them for a list of images or a batch.

    Raises ImageError (a file that cannot be read), ModelError (the answer is neither classes nor numbers, or not
    finite), ShapeError, CardError, UnknownName.
    """
    model, given, options = given_of(model, images, options)
    found = _predict(model, given.value, top, **options)
    parts = [found] if isinstance(found, Prediction) else found
    named = [replace(p, source=given.files[i][0]) if i in given.files else p for i, p in enumerate(parts)]
    return named[0] if isinstance(found, Prediction) else named


def detect(model: Source, images: Any, **options: Any) -> Any:
    """Find boxes: what a detector sees in images, and where.

    model, images: as `explain` takes them. options: fields of the model card, among them `detector`, a dict that sets
    "threshold" (the least probability, 0.25) and "nms" (the overlap from which the less certain box of a class is left
    out, 0.45) and overrides what is found out of the model: "boxes" and "scores" (names of values), "box_format",
    "objectness", "classes", "background" (docs/detection.md); `providers`, `threads` and `batch`.

    Returns Detections of one image, a list of them for a list of images or a batch. Boxes lie in pixels of the image
    as given.

    Raises ImageError (a file that cannot be read), ModelError (no candidates are found, or boxes that cannot be
    decoded), ShapeError, CardError, UnknownName.
    """
    model, given, options = given_of(model, images, options)
    found = _detect(model, given.value, **options)
    parts = [found] if isinstance(found, Detections) else found
    named = [replace(p, source=given.files[i][0]) if i in given.files else p for i, p in enumerate(parts)]
    return named[0] if isinstance(found, Detections) else named


def activations(
    model: Source,
    x: Any,
    layers: str | Layer | Sequence[str | Layer],
    *,
    providers: Providers = None,
    threads: int | None = None,
) -> dict[str, np.ndarray]:
    """Values inside the network for the input `x`: a dict of the names in `layers` to arrays.

    model: as `explain` takes it. x: the path of an image file, a Pillow image or uint8 (H, W, 3) RGB, several in a
    list, prepared as the model's card says; or a tensor (N, ...) in the model's own layout; or {input name: array} for
    several inputs; or a text, for a model of texts. layers: names of layers (see `Model.layers`), of modules or of any
    values of the graph: inputs, outputs, intermediate values, initializers; or `Layer` objects.

    Raises ImageError, TextError, UnknownName (nearest names offered), ShapeError (an input is missing or does not fit),
    ModelError, RuntimeUnavailable (providers that cannot be had here).
    """
    model, given, _ = given_of(model, x, {})
    ready = load(model)
    read = read_given(ready, given.value)
    return _engine_activations.activations(
        ready, given.value if read is None else read[1], layers, providers=providers, threads=threads
    )


@_help_of(_dream)
def dream(
    model: Source,
    image: Any = None,
    layer: str | Layer | Sequence[str | Layer] | Mapping[str, float] | None = None,
    channel: int | None = None,
    target: Any = None,
    *,
    guide: Any = None,
    **options: Any,
) -> Dream:
    """`image` and `guide` may also be the path of an image file or a Pillow image.

    Raises ImageError when a file cannot be read.
    """
    start = None if isinstance(image, str) and image == NOISE else image
    paths = any(isinstance(given, str | os.PathLike) for given in (start, guide))
    card = card_or_none(loaded(model, options)[0]) if paths else None
    return _dream(model, pixels_of(start, card)[0], layer, channel, target, guide=pixels_of(guide, card)[0], **options)


def _read(model: Source, options: Mapping[str, Any], path: str) -> NDArray[Any]:
    from .files.photos import read_photo

    return read_photo(path, card_or_none(loaded(model, options)[0]))


@_help_of(_visualize)
def visualize(
    model: Source,
    layer: str | Sequence[str] | None = None,
    channel: Any = None,
    neuron: Any = None,
    target: Any = None,
    direction: Any = None,
    steps: int = 128,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    *,
    on: Any = None,
    **options: Any,
) -> Visualization:
    """`image`, `mask` and `reference` may also be paths of image files, `direction` of an .npy file.

    `spectrum` may be a folder or paths of images, `on` a folder, a glob pattern or a list of paths. Without `spectrum`,
    maco takes the built-in sample images. Raises ImageError when a file cannot be read.
    """
    from .files.references import read_image, read_mask, read_vector, spectrum_of

    if isinstance(direction, str | os.PathLike):
        direction = read_vector(direction)
    if isinstance(options.get("mask"), str | os.PathLike):
        options["mask"] = read_mask(options["mask"])
    named = [name for name in ("image", "reference") if isinstance(options.get(name), str | os.PathLike)]
    ready = loaded(model, options)[0] if named else None
    options |= {name: read_image(options[name], ready) for name in named}
    options["spectrum"] = spectrum_of(options.get("spectrum"), options.get("parametrisation"))
    if on is not None:
        on = surveyed(on, card_or_none(loaded(model, options)[0]))
    return _visualize(model, layer, channel, neuron, target, direction, steps, size, seed, on=on, **options)


class Pipeline(_Pipeline):
    __doc__ = _Pipeline.__doc__

    def __init__(
        self,
        model: Source,
        method: str | Method | type[Method] = "grad-cam",
        target: Any = None,
        layer: str | Layer | Sequence[str | Layer] | None = None,
        *,
        workers: int = 2,
        queue: int = 8,
        batch: int = 1,
        max_delay_ms: float = 5.0,
        when: str | None = None,
        memory: _Novelty | str | os.PathLike[str] | None = None,
        render: Callable[[Any], Any] | None = None,
        warm: bool = True,
        devices: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        if isinstance(target, str):
            target = Target.parse(target)
        ready, rest = loaded(model, options)
        card = card_or_none(ready)
        if isinstance(target, Target):
            target = target.opened(functools.partial(_read, ready, {}))
        super().__init__(
            ready,
            method,
            target,
            layer,
            workers=workers,
            queue=queue,
            batch=batch,
            max_delay_ms=max_delay_ms,
            when=when,
            memory=memory,
            render=render,
            warm=warm,
            devices=devices,
            decode=functools.partial(_handed, card),
            **rest,
        )


def _handed(card: Card | None, image: Any) -> Given:
    """What a user gives a pipeline. Raises ImageError for a file that cannot be read."""
    given = decoded(image, card)
    source, notes = given.files.get(0, (None, ())) if not given.listed else (None, ())
    return Given(given.value, source, notes)


class Drift:
    """Measures how far images lie from those that a model was set up with, by the values of one layer.

        drift = onnxray.Drift("model.onnx", "good/", window=30)
        with onnxray.Pipeline("model.onnx") as pipeline:
            for frame, explanation in zip(frames, pipeline.map(frames)):
                print(explanation.label, drift.add(frame))     # Distance(smd=0.41, psi=0.012)

    model: as `onnxray.explain` takes it. reference: images, as `onnxray.top` takes them; what `onnxray.health` found;
        or the folder that this, or `save`, was written to. layer: by default the first activation function, or that of
        the reference. window: how many images the population stability index judges together.
    options: fields of the model card; `providers` and `threads`.

    Raises UnknownName, TargetError (a layer without units), MethodError (no layer that can be measured, a reference of
    another model or layer), OutputError (a damaged reference), ImageError, CardError, ModelError, ShapeError.
    """

    def __init__(
        self, model: Source, reference: Any, layer: str | None = None, *, window: int = WINDOW, **options: Any
    ) -> None:
        running = {name: options.pop(name) for name in ("providers", "threads") if name in options}
        self._model, rest = loaded(model, options)
        for name in rest:
            raise UnknownName("option of Drift", name, ("providers", "threads", *LOAD_OPTIONS))
        known: Reference | None = None
        if isinstance(reference, Health):
            known = Reference.of_health(reference, layer)
        elif isinstance(reference, str | os.PathLike) and kind_of(Path(reference)) is not None:
            known = load_reference(Path(reference), layer)
        self._looking = Looking(self._model, layer if known is None else known.layer, RunOptions(**running))
        self.reference = self._gathered(reference) if known is None else known
        self._looking.fits(self.reference)
        self._window = Window(self.reference, window)

    def add(self, image: Any) -> Distance:
        """The next image: a path, a Pillow image or an array. For one thread.

        Returns its distance: `smd`, the standardised mean difference, and `psi`, the population stability index of the
        last images, None until the window is full. Raises ImageError, ShapeError.
        """
        return self._window.add(self._looking.look(pixels_of(image, card_or_none(self._model))[0]))

    def save(self, dir: str | Path) -> dict[str, Path]:
        """Write the reference, for later. Returns the paths. Raises OutputError."""
        return self.reference.save(dir)

    def _gathered(self, images: Any) -> Reference:
        gathering = Gathering(self._looking.layer.name, self._looking.sha256)
        for picture in surveyed(images, card_or_none(self._model)):
            gathering.add(self._looking.look(picture.pixels))
        return gathering.reference()


def top(
    model: Source,
    images: Any,
    layers: str | Layer | Sequence[str | Layer] | None = None,
    k: int = 9,
    **options: Any,
) -> Top:
    """Find the k images that excite each unit of some layers most, and least, in one pass over any number of them.

    images: the path of a folder, of an image file, a glob pattern, or several in a list; a folder whose subfolders hold
    the images labels them by the subfolders' names. Else as `onnxray.engine.top.top` takes them, which lists all
    options and what a result offers. Raises ImageError for a file that cannot be read, and what `engine.top.top`
    raises.
    """
    ready, rest = loaded(model, options)
    return _top(ready, surveyed(images, card_or_none(ready)), layers, k, **rest)


def health(
    model: Source,
    images: Any,
    layers: str | Layer | Sequence[str | Layer] | None = None,
    *,
    against: Any = (),
    **options: Any,
) -> Health:
    """Measure the units of a model on a data set: dead, always on, saturated, duplicates; ranks and similarities.

    images: as `onnxray.top` takes them. against: another version of the model, or several, that it is compared with.
    See `onnxray.engine.health.health`, which lists all options. Raises ImageError for a file that cannot be read, and
    what that function raises.
    """
    ready, rest = loaded(model, options)
    return _health(ready, surveyed(images, card_or_none(ready)), layers, against=against, **rest)


class Novelty(_Novelty):
    __doc__ = _Novelty.__doc__

    @classmethod
    def fit(
        cls, model: Source, images: Any, layers: str | Layer | Sequence[str | Layer] | None = None, **options: Any
    ) -> Novelty:
        """Learn what good images look like to a model, without training; any number of images, in bounded memory.

        images: of good parts, as `onnxray.top` takes them; every fifth is held out and calibrates the threshold. See
        `onnxray.engine.novelty.fit.fit`, which lists all options. Raises ImageError for a file that cannot be read, and
        what that function raises.
        """
        ready, rest = loaded(model, options)
        found = _fit(ready, surveyed(images, card_or_none(ready)), layers=layers, **rest)
        return cls(**{part.name: getattr(found, part.name) for part in fields(found)})

    def score(self, images: Any, *, progress: Callable[[int], None] | None = None) -> Any:
        """How unlike the good images others are: a NoveltyScore of one image, a list of them for several.

        images: an image, of which `onnxray.explain` says what that may be, or several in a list; a folder or a glob
        pattern is several. progress: called with how many are done.

        Raises ImageError (a file that cannot be read), ShapeError (something that is no image), ModelError.
        """
        if isinstance(images, str | os.PathLike) and not os.path.isfile(images):
            return super().score(surveyed(images, self.card), progress=progress)
        if isinstance(images, list | tuple):
            return super().score(surveyed(images, self.card), progress=progress)
        pixels, source, notes = pixels_of(images, self.card)
        found: NoveltyScore = super().score(Picture(source or "image", pixels), progress=progress)
        return replace(found, warnings=(*found.warnings, *notes))
