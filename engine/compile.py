"""`compile`: a model together with its explanation as one ONNX model of standard operators.

model -> target and layer chosen -> the method emits itself (`methods/`, `compiled/`) -> upsampling, range
      -> preprocessing in front -> one Model: the original outputs, unchanged but for rounding, and `saliency_map`
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from .attribution.inputs import CARD_OPTIONS, example_input
from .attribution.plain import plain
from .attribution.problem import Problem
from .compiled import display
from .compiled import preprocessing as images
from .compiled.build import TARGET, Build
from .compiled.emitted import Emitted
from .compiled.texts import at_lookup, lookup_of, stand_in_of, with_lookup
from .errors import MethodError, ModelError, TargetError
from .graph.model import Model, Source
from .graph.narrow import identity
from .graph.split import expose
from .inspect.layers import Layer, layer_names
from .load import load
from .methods.registry import Method, make
from .novelty.emit import (
    ANOMALIB,
    MAP,
    OUTPUTS,
    OWN,
    PRED_LABEL,
    PRED_MASK,
    PRED_SCORE,
    SCORE,
    as_anomalib,
    emit_novelty,
)
from .novelty.memory import Novelty, check_model
from .optimize.loops.request import optimisation
from .preprocess.card import Card
from .preprocess.find import find_card
from .proto.edit import rename
from .targets.boxes import BoxTarget, emitted_box
from .targets.target import Target
from .version import __version__

OUTPUT = "saliency_map"
# Of a detector: what is explained.
BOX = "explained_box"
METADATA = "onnxray.compile"
RUNTIME = "runtime"
# Of `compile_live`: where the image lies on the model's plane.
PLACE = "image_place"


@dataclass(frozen=True)
class _Wanted:
    """How the map is given out, and the layout and card that images are fed by (None: tensors are fed)."""

    upsample: str
    normalize: str
    layout: str | None
    card: Card | None


def compile(
    model: Source,
    method: str | Method | type[Method] | None = "grad-cam",
    layer: str | Layer | Sequence[str | Layer] | None = None,
    target: Any = "predicted",
    *,
    upsample: str = "input",
    normalize: str = "none",
    preprocess: bool | str = False,
    default_target: bool = True,
    visualize: str | None = None,
    dream: str | None = None,
    novelty: Novelty | str | os.PathLike[str] | None = None,
    novelty_outputs: str = OWN,
    **options: Any,
) -> Model:
    """A model with the outputs of `model`, unchanged but for rounding, and `saliency_map`: what explains its answer.

    method: as in `explain`; None adds no explanation, where `novelty` is given.
    layer: as in `explain`; chosen automatically if None.
    target: "predicted", a class index, a label, or any other target that names what it explains; "runtime" adds the
        int64 input `target_class`, (1,) for all samples or (N,), in which a negative number stands for the predicted
        class. `default_target`: whether it may be left out (ONNX Runtime in Python, C, C++ and C# allows that; in
        JavaScript and in Triton every input has to be fed, or cannot be fed at all if it has a default).
    upsample: "input" brings the map to the size of the image that is fed, bilinear; "none" leaves it is.
    normalize: "none": the method's own values, float32 (N, C, H, W), C the input's channels, or 1 for class activation
        maps. "minmax" and "uint8": one channel, each sample's map in 0..1 or 0..255: class activation maps from 0 to
        their maximum, signed maps from -m to m with 0 in the middle.
    preprocess: True or "HWC": the model takes a uint8 (H, W, 3) RGB image of any size and prepares it as the card says;
        "NHWC": several of one size; "UNIT": float32 (N, 3, H, W) RGB in 0..1. The map then is on the image's pixels.
    visualize: "LAYER:CHANNEL", or an objective ("logit:tabby"); dream: a layer. Either gives, in place of an
        explanation, a model that optimises an image in a Loop: inputs `image`, float32 (1, C, H, W) in 0..1, and
        `steps`, int64 (1,); outputs `picture`, like the image, and `objective`, float32 (1,). Options are `seed`, of a
        dream also `rate`, `jitter` and `blurs`, and `size` of what `visualize` draws.
    novelty: a memory of good images of this model, or its path: adds `novelty_score`, float32 (N,), and, where its
        method has a map, `anomaly_map`, float32 (N, 1, H, W), distances on the pixels of the image that is fed.
    novelty_outputs: "anomalib": with method=None, a model with the outputs of anomalib's deployments and no others:
        `pred_score` (N,) and `anomaly_map` (N, 1, H, W), float32 in 0..1 with the memory's threshold at 0.5, and
        `pred_label`, `pred_mask`, bool.
    options: the method's own; fields of the model card; `output` and `scores`.

    Of a detector the most certain box is explained (box:K: the K-th, box:LABEL:K: of a class); `explained_box`, float32
    (N, 6), has its y0, x0, y1, x1 in pixels of the model's input, its probability and the number of its class. Where an
    image has no such box, it and the map are zeros.

    Of a model that takes token ids, the embeddings that they stand for are explained by methods that need gradients; in
    place of the map, `token_relevance`, float32 (N, T), has the sum over their dimensions.

    Only standard ONNX operators are added; a batch that was dynamic stays so. The metadata `onnxray.compile` says what
    was added.

    Raises MethodError (the method cannot be compiled, or not with these options), TargetError, UnknownName, CardError,
    GradientError and its subclasses, ModelError, ShapeError (a memory of images of another size).
    """
    if visualize is not None or dream is not None:
        given = (method, layer, target, upsample, normalize, preprocess, default_target, novelty, novelty_outputs)
        return _optimisation(model, visualize, dream, given, options)
    display.check_choice("upsample", upsample, display.UPSAMPLE)
    display.check_choice("normalize", normalize, display.NORMALIZE)
    display.check_choice("novelty_outputs", novelty_outputs, OUTPUTS)
    layout = _layout(preprocess)
    card_options = {name: options.pop(name) for name in CARD_OPTIONS if name in options}
    model = load(model, **card_options)
    memory = None if novelty is None else _memory(novelty, model)
    chosen = None if method is None else make(method, options)
    layers = layer_names(layer)
    _check_asked(model, chosen, layers, target, memory, options, novelty_outputs)
    if novelty_outputs == ANOMALIB and (memory is None or chosen is not None):
        raise MethodError("outputs as anomalib has them are those of a memory alone: give novelty and no method")
    by_gradient = chosen is not None and chosen.needs == "gradient" and not chosen.at_layer
    lookup = lookup_of(model) if by_gradient else None
    if lookup is not None:
        _check_text(layout, upsample, normalize, memory)
        stand_in = stand_in_of(model, getattr(chosen, "baseline", None))
        at = at_lookup(model, lookup, stand_in is not None)
        inner = compile(at, chosen, None, target, default_target=default_target)
        return with_lookup(inner, model, lookup, OUTPUT, stand_in)
    card = find_card(model) if layout else None
    example = example_input(model, card)
    asked = Target.of(None if target == RUNTIME else target)
    if asked.samples is not None:
        raise TargetError(f"a compiled model explains any number of samples, {asked} is one target for each: name one")
    problem = Problem(model, example, asked, layers)
    if chosen is not None and problem.target.count != 1:
        raise TargetError(f"a compiled model explains one target at a time, {problem.asked} is several")
    build = Build(problem, runtime=isinstance(target, str) and target == RUNTIME)
    emitted = None if chosen is None else chosen.emit(build)
    entry = placed = None
    if layout and card is not None:
        entry, placed = images.preprocess(build, card, layout)
    elif problem.source.value(build.x).dtype != problem.model.value(build.x).dtype:
        entry = images.converted(build)
    wanted = _Wanted(upsample, normalize, layout, card)
    outputs = {}
    if chosen is not None and emitted is not None:
        outputs[OUTPUT] = _shown(build, emitted, wanted, placed)
        if isinstance(problem.target, BoxTarget):
            box = emitted_box(build.op, problem.target.ranked)
            outputs[BOX] = box if placed is None else images.boxes_to_image(build, box, placed)
    if memory is not None:
        outputs |= _novel(build, memory, wanted, placed)
        if novelty_outputs == ANOMALIB:
            outputs = as_anomalib(build.op, outputs, memory.calibration.threshold)
    note = _note(model, chosen, emitted, build, wanted)
    if memory is not None:
        note |= {"novelty": _about(memory, outputs)}
    result = build.finished(outputs, entry, {METADATA: json.dumps(note)}, default_target)
    if novelty_outputs == ANOMALIB:
        result = _named_directly(expose(result, list(outputs), only=True))
    return Model(result.proto, folder=result.folder, overrides=model.overrides)


def compile_live(model: Model, values: Sequence[str]) -> Model:
    """`model` with Grad-CAM of a class chosen at run time and values from inside, for images that come one by one.

    It takes a uint8 (H, W, 3) RGB image of any size and `target_class` as `compile` does. Its outputs are those of the
    model, `saliency_map`, float32 (1, 1, h, w) over the model's plane, `image_place`, int64 (4,): (height, width) that
    the image was scaled to and (y, x) of its corner on the plane; and `values` of the graph.

    Raises what `compile` raises.
    """
    card = find_card(model)
    problem = Problem(model, example_input(model, card), Target.of(None), ())
    build = Build(problem, runtime=True)
    emitted = make("grad-cam", {}).emit(build)
    entry, placed = images.preprocess(build, card, "HWC")
    outputs = {
        OUTPUT: emitted.maps(build.op, problem.input.layout),
        PLACE: build.op.Concat(placed.resized, placed.offset, axis=0),
    }
    note = _note(model, make("grad-cam", {}), emitted, build, _Wanted("none", "none", "HWC", card))
    result = build.finished(outputs, entry, {METADATA: json.dumps(note)}, default=False)
    return expose(Model(result.proto, folder=result.folder, overrides=model.overrides), values)


def _memory(novelty: Novelty | str | os.PathLike[str], model: Model) -> Novelty:
    """Raises ModelError for a memory of another model."""
    if not isinstance(novelty, Novelty):
        return Novelty.load(novelty, model)
    made_with = novelty.model
    check_model("this", made_with.path.name if made_with.path else "model", identity(made_with), model)
    return novelty


def _check_asked(
    model: Model,
    chosen: Method | None,
    layers: Sequence[str],
    target: Any,
    memory: Novelty | None,
    options: Mapping[str, Any],
    novelty_outputs: str,
) -> None:
    """Raises MethodError for what contradicts itself, ModelError for names that the model has already."""
    if chosen is None:
        if memory is None:
            raise MethodError("neither a method nor a memory was given: there is nothing to add to the model")
        if layers or target != "predicted" or options:
            raise MethodError("without a method nothing is explained: leave out layer, target and options")
    elif layers and not chosen.at_layer:
        raise MethodError(f"{chosen.name} explains at the input and takes no layer: leave it out, or use a CAM method")
    for name in (OUTPUT, TARGET, *(_ADDED[novelty_outputs] if memory is not None else ())):
        if name in model.values:
            raise ModelError(f"the model has a value called {name!r} already: compile the model that it was made of")


def _novel(build: Build, memory: Novelty, wanted: _Wanted, placed: images.Placed | None) -> dict[str, str]:
    """The outputs of a memory, its map on the pixels of what is fed unless it is wanted as it is."""
    found = emit_novelty(build, memory)
    if MAP in found and wanted.upsample == "input":
        grid = found[MAP]
        found[MAP] = build.resized(grid, build.plane()) if placed is None else images.to_image(build, grid, placed)
    return found


def _named_directly(model: Model) -> Model:
    """The same without an Identity before each output.

    OpenVINO gives what an Identity passes on both names, and anomalib's inferencer takes the first of them.
    """
    names = {v.name for v in model.graph.output}
    with model.edited() as edit:
        nodes = list(edit.graph.node)
        passing = [node.op_type == "Identity" and node.output[0] in names for node in nodes]
        moved = {node.input[0]: node.output[0] for node, passes in zip(nodes, passing, strict=True) if passes}
        kept = [node for node, passes in zip(nodes, passing, strict=True) if not passes]
        for node in kept:
            rename(node, moved)
        del edit.graph.node[:]
        edit.graph.node.extend(kept)
        for info in [info for info in edit.graph.value_info if info.name in moved]:
            edit.graph.value_info.remove(info)
    return edit.model


def _about(memory: Novelty, outputs: Mapping[str, str]) -> dict[str, Any]:
    """What of a memory stands in the metadata."""
    kept = ("method", "layers", "layer_reason", "grid", "dimensions")
    return {
        **{name: value for name, value in memory.head().items() if name in kept},
        "outputs": [name for name in outputs if name in _OF_MEMORY],
        "threshold": memory.calibration.threshold,
        "false_alarms": memory.calibration.rate,
        "interval": list(memory.calibration.interval),
        "warnings": list(memory.calibration.warnings),
    }


# What a memory adds, by `novelty_outputs`.
_ADDED = {OWN: (SCORE, MAP), ANOMALIB: (MAP, PRED_SCORE, PRED_LABEL, PRED_MASK)}
_OF_MEMORY = (SCORE, MAP, PRED_SCORE, PRED_LABEL, PRED_MASK)
# What `compile` takes if nothing is said: method, layer, target, upsample, normalize, preprocess, default_target,
# novelty, novelty_outputs.
_PLAIN = ("grad-cam", None, "predicted", "input", "none", False, True, None, OWN)


def _optimisation(
    model: Source, visualize: str | None, dream: str | None, given: tuple[Any, ...], options: dict[str, Any]
) -> Model:
    """Raises MethodError where something is asked for that only explanations have."""
    if given != _PLAIN:
        raise MethodError(
            "a file that optimises an image explains nothing: leave out method, layer, target, upsample, normalize and "
            "preprocess"
        )
    size = options.pop("size", None)
    card = {name: options.pop(name) for name in CARD_OPTIONS if name in options}
    return optimisation(load(model, **card), visualize, dream, size, options)


def _check_text(layout: str | None, upsample: str, normalize: str, memory: Novelty | None) -> None:
    """Raises MethodError for what a model of texts has not."""
    if layout is not None or upsample != "input" or normalize != "none" or memory is not None:
        raise MethodError(
            "the model takes texts: preprocess, upsample, normalize and novelty are about images, leave them out"
        )


def _layout(preprocess: bool | str) -> str | None:
    if isinstance(preprocess, str):
        display.check_choice("preprocess", preprocess.upper(), images.LAYOUTS)
        return preprocess.upper()
    return "HWC" if preprocess else None


def _shown(build: Build, emitted: Emitted, wanted: _Wanted, placed: images.Placed | None) -> str:
    layout, normalize = build.problem.input.layout, wanted.normalize
    value = emitted.maps(build.op, layout)
    if not emitted.on_plane(layout):
        if normalize != "none":
            raise MethodError("the input is not an image: its attributions are given unscaled, with normalize='none'")
        return value
    if normalize != "none":
        value = display.reduced(build, value, emitted.reduce)
    if wanted.upsample == "input":
        value = build.resized(value, build.plane()) if placed is None else images.to_image(build, value, placed)
    return display.normalized(build, value, emitted.display, normalize)


def _note(
    model: Model, method: Method | None, emitted: Emitted | None, build: Build, wanted: _Wanted
) -> dict[str, Any]:
    """What was added and how, as JSON-like data."""
    explained: dict[str, Any] = {"method": None, "layer": None, "output": None}
    if method is not None and emitted is not None:
        explained = {
            "method": method.name,
            "options": {name: plain(value) for name, value in method.options().items()},
            "target": RUNTIME if build.runtime else str(build.problem.asked),
            "layer": emitted.layer,
            "layer_reason": emitted.reason,
            "output": OUTPUT,
            "upsample": wanted.upsample,
            "normalize": wanted.normalize,
            "range": display.range_of(emitted.display, wanted.normalize),
            "channels": emitted.reduce if wanted.normalize != "none" else "none",
            "display": emitted.display,
        }
    note: dict[str, Any] = {
        **explained,
        "input": build.x,
        "preprocess": None,
        "source_sha256": model.sha256,
        "opset": build.op.opset,
        "versions": {"onnxray": __version__, "onnx": onnx.__version__},
    }
    if build.runtime:
        note["target_input"] = TARGET
    if isinstance(build.problem.target, BoxTarget):
        note["box"] = BOX
    if wanted.layout and wanted.card is not None:
        # Not where the card was found: paths of the machine that compiled are nobody's business, and would make the
        # file another one in every folder.
        shown = {
            k: v for k, v in wanted.card.to_mapping().items() if k not in ("labels", "source", "warnings", "about")
        }
        note["preprocess"] = {"layout": wanted.layout, "card": shown}
    return note
